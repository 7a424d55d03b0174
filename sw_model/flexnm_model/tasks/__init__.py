"""Zero-shot multiple-choice tasks: their documents, their prompts, and the likelihoods a model gives the answers."""
