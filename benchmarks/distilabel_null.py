"""A distilabel pipeline with TextGeneration and a language model that answers at once.

The benchmark pipeline_null runs it in distilabel's own environment:

python -m benchmarks.distilabel_null PAIRS JUDGMENTS
"""

import json
import sys
import time
from typing import Any

from distilabel.models.llms import LLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import TextGeneration

ANSWER = "I compared both responses to the instruction, and the first one does what it asks. [[A]]"
TEMPLATE = "{instruction}\nA : {response_a}\nB : {response_b}"


class NullLLM(LLM):
    """Answers at once, always the same."""

    def load(self) -> None:
        super().load()

    @property
    def model_name(self) -> str:
        return "null"

    def generate(self, inputs: list[Any], num_generations: int = 1) -> list[Any]:
        return [
            {
                "generations": [ANSWER] * num_generations,
                "statistics": {"input_tokens": [21] * num_generations, "output_tokens": [20] * num_generations},
            }
            for _ in inputs
        ]


def main() -> None:
    pairs, judgments = int(sys.argv[1]), int(sys.argv[2])
    rows = [
        {
            "instruction": TEMPLATE.format(
                instruction=f"Sort the numbers up : 27 19 24 {number}", response_a="19 24 27", response_b="27 24 19"
            )
        }
        for number in range(pairs)
    ]
    started = time.perf_counter()
    with Pipeline(name="null") as pipeline:
        load = LoadDataFromDicts(data=rows, batch_size=1_000)
        load >> TextGeneration(llm=NullLLM(), num_generations=judgments, input_batch_size=1_000)
    made = pipeline.run(use_cache=False)["default"]["train"].num_rows
    took = time.perf_counter() - started
    if made != pairs * judgments:
        raise RuntimeError(f"distilabel made {made} rows of {pairs * judgments}.")
    print(json.dumps({"rate": made / took}))


if __name__ == "__main__":
    main()
