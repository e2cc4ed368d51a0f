"""How many different architectures a layout holds, exactly, and each of them.

Two lists of layers are one architecture where they are read alike: a kind that shares the nearest cache is, where there
is none before it, the same as one that keeps its own. Lists of several periods are counted by inclusion and exclusion:
those of all periods in a set are constant on the classes of positions that the periods join.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain, combinations, product
from math import prod
from typing import Any

from l2m_design.architecture import MixerSpec
from l2m_design.architecture.mixers import KeyValueMixer
from l2m_design.errors import BadInput
from l2m_design.search.space.layout import Layers, Layout
from l2m_design.search.space.sharing import mixers, own, shares

Flags = tuple[int, ...]  # of each mixer of one cache: 1 where it only keeps or only shares it, 2 where either is drawn
Profile = tuple[Flags, ...]  # by alphabet
Classes = tuple[tuple[int, int], ...]  # alphabet, and parts that are left without the first position


def count(space: Layout) -> int:
    """How many different architectures there are."""
    if space.sizes == "per_layer":
        return _lists(space, {kind: space.mixers_of([kind]) for kind in space.offered})
    _check_apart(space)
    names = space.uses(space.offered)
    held = {name: len(dict.fromkeys(space.choices[name])) for name in names}
    found: dict[tuple[str, ...], int] = {}
    for subset in _subsets(names):
        kinds = [kind for kind in space.offered if set(space.uses([kind])) <= set(subset)]
        pairs = sum(_lists(space, {k: [space.mixer(k, values)] for k in kinds}) for values in space.values(subset))
        within = sum(
            lists * prod(held[name] for name in subset if name not in smaller)
            for smaller, lists in found.items()
            if set(smaller) < set(subset)
        )
        found[subset] = pairs - within  # lists that need every choice of the subset
    return sum(found.values())


def _check_apart(space: Layout) -> None:
    """One answer for all layers: which choices an architecture used is only known where no two kinds coincide."""
    origins: dict[MixerSpec, tuple[str, dict[str, Any]]] = {}
    for kind in space.offered:
        for values in space.values(space.uses([kind])):
            other, theirs = origins.setdefault(own(space.mixer(kind, values)), (kind, values))
            if theirs != values:
                raise BadInput(
                    f"kinds: {other} and {kind} can be the same layer; leave one of them out with sizes: shared"
                )


def _subsets(items: list[Any]) -> Iterator[tuple[Any, ...]]:
    return chain.from_iterable(combinations(items, size) for size in range(len(items) + 1))


def _lists(space: Layout, options: dict[str, Layers]) -> int:
    """Different lists whose layers are these options of their kinds, in the space's layout."""
    if space.pattern is None:
        alphabets = [list(chain.from_iterable(options.values()))]
        where = [0] * space.depth
    else:
        names = list(dict.fromkeys(space.pattern))
        alphabets = [options.get(name, []) for name in names]
        where = [names.index(space.kinds_at(layer)[0]) for layer in range(space.depth)]
    plain, profiles = _profiles(alphabets)
    total = 0
    for periods in _subsets(space.spans):
        if periods:
            classes = _classes(space.depth, periods)
            total -= (-1) ** len(periods) * _ways(tuple((where[at], parts) for at, parts in classes), plain, profiles)
    return total


def _profiles(alphabets: list[Layers]) -> tuple[tuple[int, ...], tuple[tuple[Profile, int], ...]]:
    """By alphabet how many mixers stand alone; and of the caches that may be shared, each one's flags."""
    caches: dict[str, list[dict[MixerSpec, set[bool]]]] = defaultdict(lambda: [defaultdict(set) for _ in alphabets])
    for index, layers in enumerate(alphabets):
        for layer in layers:
            spec = own(layer)
            cache = repr(spec.cache) if isinstance(spec, KeyValueMixer) else ""
            caches[cache][index][spec].add(shares(layer, spec))
    plain = [0] * len(alphabets)
    profiles: Counter[Profile] = Counter()
    for found in caches.values():
        if any(True in flags for specs in found for flags in specs.values()):
            profiles[tuple(tuple(sorted(len(flags) for flags in specs.values())) for specs in found)] += 1
        else:
            plain = [held + len(specs) for held, specs in zip(plain, found, strict=True)]
    return tuple(plain), tuple(sorted(profiles.items()))


@lru_cache(maxsize=4096)
def _ways(classes: Classes, plain: tuple[int, ...], profiles: tuple[tuple[Profile, int], ...]) -> int:
    """Lists that are constant on classes, in the order of their first positions.

    A cache's first layer keeps it whatever its template says; what it says shows in each part that is left of its
    class. state: how many caches of each profile are kept so far.
    """
    states: dict[tuple[int, ...], int] = {(0,) * len(profiles): 1}
    for alphabet, parts in classes:
        after: dict[tuple[int, ...], int] = defaultdict(int)
        for state, ways in states.items():
            kept = sum(held * sum(profile[alphabet]) for (profile, _), held in zip(profiles, state, strict=True))
            after[state] += ways * (plain[alphabet] + kept)
            for at, (profile, caches) in enumerate(profiles):
                fresh = (caches - state[at]) * sum(flags**parts for flags in profile[alphabet])
                if fresh:
                    after[(*state[:at], state[at] + 1, *state[at + 1 :])] += ways * fresh
        states = after
    return sum(states.values())


@lru_cache(maxsize=1024)
def _classes(depth: int, periods: tuple[int, ...]) -> list[tuple[int, int]]:
    """The classes of positions that the periods join: the first position, and the parts left without it."""
    parts = _components(set(range(depth)), periods)
    return sorted((min(part), len(_components(part - {min(part)}, periods))) for part in parts)


def _components(nodes: set[int], periods: tuple[int, ...]) -> list[set[int]]:
    found, left = [], set(nodes)
    while left:
        part, edge = set(), {left.pop()}
        while edge:
            part |= edge
            left -= edge
            edge = {at + step for at in edge for period in periods for step in (period, -period)} & left
        found.append(part)
    return found


def each(space: Layout) -> Iterator[Layers]:
    """Every different architecture's layers, once."""
    seen: set[tuple[MixerSpec, ...]] = set()
    for layers in _arrangements(space):
        key = mixers(layers)
        if key not in seen:
            seen.add(key)
            yield layers


def _arrangements(space: Layout) -> Iterator[Layers]:
    for period in space.spans:
        positions = [space.kinds_at(layer) for layer in range(period)]
        if space.sizes == "per_layer":
            for unit in product(*(space.mixers_of(kinds) for kinds in positions)):
                yield [unit[layer % period] for layer in range(space.depth)]
            continue
        for kinds in product(*positions):
            for values in space.values(space.uses(kinds)):
                yield [space.mixer(kinds[layer % period], values) for layer in range(space.depth)]
