"""distilabel's TextGeneration with a language model that answers at once; pipeline_null runs it in distilabel's venv.

python -m benchmarks.distilabel_null PAIRS JUDGMENTS
"""

import json
import sys
import time
from typing import Any

from distilabel.models.llms import LLM
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

    def generate(self, inputs: list[Any], num_generations: int = 1, **options: Any) -> list[Any]:
        return [
            {
                "generations": [ANSWER] * num_generations,
                "statistics": {"input_tokens": [21] * num_generations, "output_tokens": [20] * num_generations},
            }
            for _ in inputs
        ]


def main() -> None:
    pairs, judgments = int(sys.argv[1]), int(sys.argv[2])
    task = TextGeneration(llm=NullLLM(), num_generations=judgments, input_batch_size=1_000)
    task.load()
    numbers = range(pairs)
    started = time.perf_counter()
    rows = 0
    for first in range(0, pairs, 1_000):
        batch = [
            {
                "instruction": TEMPLATE.format(
                    instruction=f"Sort the numbers up : 27 19 24 {number}", response_a="19 24 27", response_b="27 24 19"
                )
            }
            for number in numbers[first : first + 1_000]
        ]
        for output in task.process(batch):
            rows += len(output)
    took = time.perf_counter() - started
    if rows != pairs * judgments:
        raise RuntimeError(f"distilabel made {rows} rows of {pairs * judgments}.")
    print(json.dumps({"rate": rows / took}))


if __name__ == "__main__":
    main()
