"""Layers by name: as torch prints them ("layer3.1.conv2"), or as lucent does ("layer3_1_conv2")."""

from difflib import get_close_matches

from torch import nn

from mechinterp_course.errors import CourseError


def layer_name(model: nn.Module, name: str) -> str:
    """Return torch's name of a layer that may be spelled as lucent does.

    >>> layer_name(resnet, "layer3_1_conv2")
    'layer3.1.conv2'

    Raises CourseError, with the closest name there is, when the model has no such layer.
    """
    names = [known for known, _ in model.named_modules() if known]
    if name in names:
        return name
    spelled = {known.replace(".", "_"): known for known in names}
    if name in spelled:
        return spelled[name]
    close = get_close_matches(name, [*names, *spelled], n=1, cutoff=0.5)
    meant = f"did you mean {spelled.get(close[0], close[0])!r}? " if close else ""
    raise CourseError(
        f"the model has no layer {name!r}; {meant}`[name for name, _ in model.named_modules()]` lists them"
    )
