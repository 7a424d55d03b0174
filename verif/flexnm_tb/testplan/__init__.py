"""Promises of the documents, and the tests, proofs and campaigns that hold them: ``verif/testplan/*.toml``."""
