"""The arguments of a task as they come out of a message: checked before a task begins, whoever sent them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from pydantic import ConfigDict, ValidationError, create_model

from engine.text.printable import printable
from orchestrator.errors import RequestError

P = ParamSpec("P")
R = TypeVar("R")


def checked_arguments(task: Callable[P, R]) -> Callable[P, R]:
    """Have a task refuse arguments that are not of the annotated types: no number is taken for a text, and nothing
    unknown is passed over. The first parameter, the task itself, is not looked at. Calls raise RequestError, which
    names the argument, the rule and what was found."""
    signature = inspect.signature(task, eval_str=True)
    fields: dict[str, Any] = {  # as create_model takes them
        one.name: (one.annotation, ... if one.default is one.empty else one.default)
        for one in list(signature.parameters.values())[1:]
    }
    model = create_model(task.__name__, __config__=ConfigDict(strict=True, extra="forbid"), **fields)

    @functools.wraps(task)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            given = dict[str, object](signature.bind(*args, **kwargs).arguments)
        except TypeError as error:
            raise RequestError(printable(f"{task.__name__}: {error}.")) from None
        given.pop(next(iter(signature.parameters)))
        try:
            model.model_validate(given)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            rule = first["msg"][:1].lower() + first["msg"][1:]
            raise RequestError(printable(f"{place}: {rule}. Got {first['input']!r:.200}.")) from None
        return task(*args, **kwargs)

    return call
