"""A class of `frozen` is what the standard library's decorator makes, before and after each first call."""

from __future__ import annotations

import copy
import pickle
from dataclasses import FrozenInstanceError, asdict, dataclass, field, fields, replace

import pytest

from batchvid.domain.frozen import frozen


@frozen
class Kite:
    """A value."""

    name: str
    height_m: float = 1.5
    tails: tuple[str, ...] = field(default=(), kw_only=True)
    secret: str = field(default="", repr=False, kw_only=True)
    notes: list[str] = field(default_factory=list, compare=False, kw_only=True)


@frozen
class Gull:
    """Another kind of value with the same fields, and words of its own."""

    name: str
    height_m: float = 1.5

    def __repr__(self) -> str:
        return f"gull {self.name}"


def fresh() -> tuple[type, type]:
    """Return a class of which no method was called yet, and the one that the standard library makes."""
    namespace = {"__annotations__": {"name": str, "n": int}, "n": 3, "__doc__": "A value."}
    made = [type("Bell", (), dict(namespace)) for _ in range(2)]
    return frozen(made[0]), dataclass(frozen=True, slots=True)(made[1])


def test_it_is_made_as_any_dataclass_is() -> None:
    """By place and by name, with defaults, each with its own list."""
    kite = Kite("a", secret="s")
    assert (kite.name, kite.height_m, kite.tails, kite.secret, kite.notes) == ("a", 1.5, (), "s", [])
    assert Kite("a").notes is not kite.notes
    assert [one.name for one in fields(Kite)] == ["name", "height_m", "tails", "secret", "notes"]
    assert Kite.__slots__ == ("name", "height_m", "tails", "secret", "notes")  # type: ignore[attr-defined]
    assert asdict(Gull("b")) == {"name": "b", "height_m": 1.5}
    assert replace(kite, height_m=2.0) == Kite("a", 2.0, secret="s")
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'name'"):
        Kite()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unexpected keyword argument 'colour'"):
        Kite("a", colour="red")  # type: ignore[call-arg]


def test_only_the_same_kind_is_equal() -> None:
    """What two values say is one thing, what they are is another."""
    assert Kite("a") == Kite("a", notes=["x"])
    assert Kite("a") != Kite("b")
    others: list[object] = [Gull("a")]
    assert Kite("a") not in others
    assert len({Kite("a", notes=["x"]), Kite("a"), Kite("b")}) == 2
    assert hash(Gull("a")) == hash(("a", 1.5))


def test_it_shows_itself_without_what_is_secret() -> None:
    """Unless it has words of its own."""
    assert repr(Kite("a", secret="s")) == "Kite(name='a', height_m=1.5, tails=(), notes=[])"
    assert repr(Gull("a")) == "gull a"


def test_nothing_of_it_can_be_set_or_deleted() -> None:
    """Nor can anything be added."""
    kite = Kite("a")
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'name'"):
        kite.name = "b"  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'name'"):
        del kite.name
    with pytest.raises((FrozenInstanceError, AttributeError, TypeError)):
        kite.colour = "red"  # type: ignore[attr-defined]


def test_it_is_copied_pickled_and_matched() -> None:
    """As a whole."""
    kite = Kite("a", 2.0, tails=("x",), notes=["n"])
    assert pickle.loads(pickle.dumps(kite)) == kite  # noqa: S301 our own
    copied = copy.deepcopy(kite)
    assert (copied, copied.notes) == (kite, ["n"])
    match kite:
        case Kite(name, height_m, tails=(tail,)):
            assert (name, height_m, tail) == ("a", 2.0, "x")


@pytest.mark.parametrize("name", ["__init__", "__repr__", "__eq__", "__hash__"])
def test_each_method_may_be_the_first_one_and_is_written_once(name: str) -> None:
    """It is the standard library's from then on."""
    quick, usual = fresh()
    before = getattr(quick, name)
    values: list[object] = [object.__new__(one) for one in (quick, usual)]
    for one in values:
        object.__setattr__(one, "name", "a")
        object.__setattr__(one, "n", 4)
    arguments = {"__init__": ("b",), "__eq__": (3,)}.get(name, ())
    said = [getattr(type(one), name)(one, *arguments) for one in values]
    assert said[0] == said[1]
    written = getattr(quick, name)
    assert written is not before
    assert written.__code__.co_names == getattr(usual, name).__code__.co_names
    getattr(quick, name)(values[0], *arguments)
    assert getattr(quick, name) is written
