"""Read plain bodies by a shape without the whole of marshmallow: the shape's own fields say what is plain.

`Reading.quick` returns what the shape would load, or NOT_PLAIN for anything that it is not sure about, good or bad:
then marshmallow itself reads the body and finds the words for what is wrong. It asks nothing that the shape does not
say, so that there is one description of each body.
"""

from collections.abc import Callable
from typing import Any, Final

from marshmallow import RAISE, Schema, ValidationError, fields, missing

NOT_PLAIN: Final = object()
_Field = tuple[Callable[[Any], Any] | None, tuple[Callable[[Any], Any], ...]]  # its own way of reading, or a string's


class Reading:
    """A shape, made ready."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self._fields: dict[str, _Field] = {}
        self._needed: set[str] = set()
        self._defaults: dict[str, Any] = {}
        self._finish: Callable[..., Any] | None = None
        self._plain = self._prepare_fields() and self._prepare_hooks()

    def _prepare_fields(self) -> bool:
        """Look the shape's fields up; return whether they can be read here at all."""
        for name, one in self.schema.load_fields.items():
            if one.data_key not in {None, name} or one.attribute not in {None, name} or callable(one.load_default):
                return False
            simple = type(one) is fields.String and not one.pre_load and not one.post_load
            self._fields[name] = (None, tuple(one.validators)) if simple else (one.deserialize, ())
            if one.required:
                self._needed.add(name)
            elif one.load_default is not missing:
                self._defaults[name] = one.load_default
        return self.schema.unknown == RAISE and not self.schema.partial and not self.schema.many

    def _prepare_hooks(self) -> bool:
        hooks = self.schema._hooks  # noqa: SLF001 - there is no public way to ask which decorators a shape has
        if any(found for kind, found in hooks.items() if kind not in {"post_load", "pre_dump", "post_dump"}):
            return False
        for name, many, options in hooks.get("post_load", ()):
            if many or options.get("pass_original") or self._finish is not None:
                return False
            self._finish = getattr(self.schema, name)
        return True

    def quick(self, value: object) -> Any:
        """Return what the shape would load from `value`, or NOT_PLAIN."""
        if not self._plain or type(value) is not dict:
            return NOT_PLAIN
        loaded = self._defaults.copy()
        try:
            for name, given in value.items():
                field = self._fields.get(name)
                if field is None or given is None:
                    return NOT_PLAIN
                deserialize, validators = field
                if deserialize is not None:
                    loaded[name] = deserialize(given)
                elif type(given) is not str:
                    return NOT_PLAIN
                else:
                    for validate in validators:
                        validate(given)
                    loaded[name] = given
            if not self._needed <= loaded.keys():
                return NOT_PLAIN
            return loaded if self._finish is None else self._finish(loaded, many=False)
        except ValidationError:
            return NOT_PLAIN
