"""The options of generation that a model file asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn

from t5g.errors import ArgumentTypeError

if TYPE_CHECKING:
    from t5g import _core


class GenerationDefaults(Mapping[str, Any]):
    """What :meth:`t5g.Model.generate` does where an argument is not given, as the checkpoint's maker wants it.

    A read-only mapping of the options that the file has, from the checkpoint's ``generation_config.json``: empty where
    it has none. As an attribute, every option is there: ``model.generation_defaults.num_beams`` is 1 where the file
    does not say.

    Examples
    --------
    >>> model.generation_defaults  # doctest: +SKIP
    GenerationDefaults(num_beams=4, max_new_tokens=128)
    """

    __slots__ = ("_given", "_options")

    def __init__(self, core: _core.Model) -> None:
        names, options, stop = core.generation_defaults()
        given = {name: getattr(options, name) for name in names}
        object.__setattr__(self, "_options", options)
        object.__setattr__(self, "_given", given | ({"stop": tuple(stop)} if stop else {}))

    def __getitem__(self, name: str) -> Any:
        return self._given[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._given)

    def __len__(self) -> int:
        return len(self._given)

    def __getattr__(self, name: str) -> Any:
        if name == "stop":
            return self._given.get("stop", ())
        if name.startswith("_") or not hasattr(self._options, name):
            raise AttributeError(f"GenerationDefaults has no option {name!r}")
        return getattr(self._options, name)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"cannot set {name}: the defaults of a file do not change. Give it to generate.")

    def __copy__(self) -> GenerationDefaults:
        return self  # it never changes

    def __deepcopy__(self, memo: object) -> GenerationDefaults:
        return self

    def __reduce__(self) -> NoReturn:
        raise ArgumentTypeError("the defaults of a file cannot be pickled. Use dict(model.generation_defaults).")

    def __repr__(self) -> str:
        return f"GenerationDefaults({', '.join(f'{name}={value!r}' for name, value in self._given.items())})"
