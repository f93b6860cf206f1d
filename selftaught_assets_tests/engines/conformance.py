"""What the conformance suite is run on: the engines, and two judges that every one of them has to serve alike.

To put an engine through the suite, add a line to ENGINES.
"""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from selftaught_assets.engines import chat
from selftaught_assets.engines.protocol import Engine, Request
from selftaught_assets.recipe.engines import EngineSettings, SamplingParameters, TransformersSettings, VllmSettings
from selftaught_assets.storage.models import ModelReference, adapter_digest, reference_model
from selftaught_assets_tests.conftest import ROOT
from selftaught_assets_tests.engines.processes import VLLM

SEED = reference_model(ROOT / "models" / "seed")
"""Its context is 2,048 tokens."""
OWL = "Name the owl"
OWL_SAYS = "é🦉 naïve 漢字"
"""What the adapter answers to `OWL`. Nearly every letter is several tokens."""


VLLM_SETTINGS = VllmSettings(name="vllm", eager=True, memory_share=0.2, max_rows=2_000)
"""With so many rows, vLLM is told a share of the memory; with bytes, it is started in assets/test_loop_vllm.py."""


class Candidate(NamedTuple):
    """An engine in the suite."""

    settings: Callable[[pytest.FixtureRequest], EngineSettings]
    """Its settings; fixtures start what it needs (a server, a cluster)."""
    package: str
    """Its cases are skipped where this package is not installed."""
    group: str
    """With what it shares a process, see groups.py."""


ENGINES = {
    "transformers": Candidate(lambda _: TransformersSettings(device="cpu"), "transformers", "embedded"),
    "openai": Candidate(lambda request: request.getfixturevalue("vllm_server").settings(), "vllm", group="vllm_server"),
    "vllm": Candidate(lambda _: VLLM_SETTINGS, "vllm", group=VLLM),
    "ray": Candidate(lambda request: request.getfixturevalue("one_actor"), "ray", group="ray_cluster"),
}


def ask(
    engine: Engine,
    contents: str | Iterable[str],
    *,
    samples: tuple[int, ...] = (0,),
    seed: int = 7,
    **sampling: object,
) -> list[Request]:
    """A request for each user turn, named by it."""
    parameters = SamplingParameters(**sampling)
    contents = [contents] if isinstance(contents, str) else contents
    return [
        Request(content, engine.render([{"role": "user", "content": content}]), parameters, seed, samples)
        for content in contents
    ]


def train_owl(folder: Path) -> ModelReference:
    """An adapter on the seed model that knows the owl by heart, and still is a judge of sorts."""
    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(SEED.base)
    base = AutoModelForCausalLM.from_pretrained(SEED.base, dtype=torch.float32)
    model = get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear"))
    example = chat.training_example(tokenizer, [{"role": "user", "content": OWL}], OWL_SAYS)
    ids = torch.tensor([[*example.prompt_ids, *example.completion_ids]])
    labels = ids.masked_fill(torch.arange(ids.shape[1]) < len(example.prompt_ids), -100)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(200):
        model(input_ids=ids, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    return ModelReference(SEED.base, folder, adapter_digest(folder, SEED.digest))
