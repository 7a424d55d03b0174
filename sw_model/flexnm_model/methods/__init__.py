"""The methods of arXiv 2509.22166 on language models: patterns, selection scores, error mitigation, baselines.

``with sparsify(model, "8:16+clact+var", parameters=Parameters.load("calibration.safetensors")): model(...)``
"""

from flexnm_model.methods.parameters import Parameters
from flexnm_model.methods.sparsify import Sparsified, sparsify
from flexnm_model.methods.spec import Method

__all__ = ["Method", "Parameters", "Sparsified", "sparsify"]
