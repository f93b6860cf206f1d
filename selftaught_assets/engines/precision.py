"""In which dtype an engine on this machine computes, and the name that the journal keeps its completions under.

Belongs here: what `auto` stands for, known before a model is loaded. Not here: loading (embedded/, vllm/).
"""

from selftaught_assets.method.identity import digest
from selftaught_assets.recipe.engines import Dtype, RaySettings, TransformersSettings, VllmSettings

ON_GPU: Dtype = "bfloat16"
ON_CPU: Dtype = "float32"


def dtype_of(settings: TransformersSettings | VllmSettings) -> Dtype:
    """The dtype of an engine on this machine: by the recipe, or by whether PyTorch sees a GPU here."""
    if settings.dtype != "auto":
        return settings.dtype
    if isinstance(settings, TransformersSettings) and settings.device == "cpu":
        return ON_CPU
    import torch

    return ON_GPU if torch.cuda.is_available() else ON_CPU


def dtype_in_actors(settings: RaySettings) -> Dtype:
    """The dtype of an engine in Ray's actors, which run anywhere and see only the GPUs that the recipe gives them."""
    held = settings.engine
    if held.dtype != "auto":
        return held.dtype
    on_cpu = settings.gpus == 0 or (isinstance(held, TransformersSettings) and held.device == "cpu")
    return ON_CPU if on_cpu else ON_GPU


def identity(model_digest: str, dtype: str) -> str:
    """What completions of a model that computes in a dtype are known by: bfloat16 says other things than float32."""
    return digest("computed", model_digest, dtype)
