"""The public names: sorted, importable, documented."""

import inspect

import pytest

import mmsearch


def test_the_list_is_sorted_and_complete():
    assert mmsearch.__all__ == sorted(set(mmsearch.__all__))
    assert set(mmsearch.__all__) <= set(dir(mmsearch))


@pytest.mark.parametrize("name", mmsearch.__all__)
def test_every_name_is_there_and_says_what_it_is(name):
    value = getattr(mmsearch, name)
    assert inspect.getdoc(value)
    if inspect.isclass(value):
        for member, function in inspect.getmembers(value, inspect.isfunction):
            if not member.startswith("_") and function.__qualname__.startswith(value.__name__):
                assert inspect.getdoc(function), f"{name}.{member} has no docstring"


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing_like_it"):
        mmsearch.nothing_like_it  # noqa: B018
