"""Which queries, asked of a care unit in place of all that are wanted, take the fewest and smallest calls.

A *part* is something wanted that the EHR takes as one call, a *cover* is a query whose answer contains several
parts. Covers are merged as long as that pays:

* Windows of the same filters that overlap or touch are joined. The joined window is never longer than its parts
  together, so cutting it never takes a call more.
* Where several resources (or services) are wanted in one unbroken stretch, a call without that filter serves them
  all. It also brings what nobody wants, so it has to cost less than what it replaces.

Nor may it take more calls than it replaces when the worst comes to the worst. Leyr refuses an id that does not exist
only where it is asked for that id; where a wider answer holds nothing of an id, the unit's list has to tell
whether it exists. So a list that is not at hand counts as a call to come.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from gateway.domain.costs import CostModel
from gateway.domain.ehr import EhrProfile
from gateway.domain.queries import Lists, TimeslotQuery
from gateway.domain.window import Window

_Filters = tuple[str | None, str | None]
_LOOSENINGS = (Lists(resources=True), Lists(services=True), Lists(resources=True, services=True))
_Clustering = Callable[[Iterable["Cover"]], Iterable[list["Cover"]]]


@dataclass(slots=True)
class Cover:
    """A query that stands for its parts, the calls that these take alone, and the lists of ids that only they name."""

    query: TimeslotQuery
    parts: list[TimeslotQuery]
    calls_alone: int
    unasked: Lists

    @property
    def filters(self) -> _Filters:
        """Its resource and its service."""
        return self.query.resource, self.query.service


@dataclass(frozen=True, slots=True)
class Terms:
    """On which a cover may stand for its parts: the EHR's behaviour, the costs, and the lists that cost nothing."""

    profile: EhrProfile
    costs: CostModel
    at_hand: Lists

    def loosenings(self) -> list[Lists]:
        """The filters that a cover may drop: by what its slots do not name, no share can be cut from an answer."""
        return [
            loosening
            for loosening in _LOOSENINGS
            if (self.profile.names_resource or not loosening.resources)
            and (self.profile.names_service or not loosening.services)
        ]

    def containing(self, filters: _Filters) -> list[_Filters]:
        """The filters that a cover of a query with these may have, its own first and the loosest last."""
        resource, service = filters
        found = [filters]
        if resource is not None and self.profile.names_resource:
            found.append((None, service))
        if service is not None and self.profile.names_service:
            found += [(each, None) for each, _ in found]
        return found

    def most_calls(self, query: TimeslotQuery, unasked: Lists) -> int:
        """How many calls a query takes if lists have to vouch for the ids that are not asked for."""
        return (
            self.costs.calls(query.window)
            + (unasked.resources and not self.at_hand.resources)
            + (unasked.services and not self.at_hand.services)
        )

    def pays(self, merged: Cover, replaced: Sequence[Cover]) -> bool:
        """Whether one cover is better than those that it would replace."""
        if all(each.filters == merged.filters for each in replaced):
            return True
        return (
            merged.query.allowed_by(self.profile.filter_policy)
            and self.most_calls(merged.query, merged.unasked) <= merged.calls_alone
            and self.costs.cost(merged.query) < sum(self.costs.cost(each.query) for each in replaced)
        )


def covering(parts: Sequence[TimeslotQuery], terms: Terms) -> list[Cover]:
    """Covers that serve each of these distinct parts once, merged until no merge pays."""
    nothing = Lists()
    alone = [Cover(part, [part], terms.costs.calls(part.window), nothing) for part in parts]
    covers = _uncontained(alone, terms)
    merges = [(nothing, _touching)]
    # Equal windows first: what the resources of a list ask for must not hang on a stray query that touches it.
    merges += [(loosening, clusters) for clusters in (_equal, _touching) for loosening in terms.loosenings()]
    before = 0
    while len(covers) not in {before, 1}:
        before = len(covers)
        for loosening, clusters in merges:
            merged = _merged(covers, loosening, clusters, terms)
            covers = _uncontained(merged, terms) if len(merged) < len(covers) else covers
    return covers


def _uncontained(covers: Iterable[Cover], terms: Terms) -> list[Cover]:
    """The covers that no other contains, with the parts of those that one does.

    What is contained must not pull a merge its way.
    """
    kept: list[Cover] = []
    placed: defaultdict[_Filters, tuple[list[datetime], list[Cover]]] = defaultdict(lambda: ([], []))
    # Looser filters first, and in them earlier and longer windows: whatever contains a cover has come before it.
    for cover in sorted(covers, key=_looseness):
        start, end = cover.query.window.start, cover.query.window.end
        for filters in terms.containing(cover.filters):
            starts, candidates = placed[filters]
            # None of these contains another, so the last to start is the last to end.
            place = bisect_right(starts, start)
            if (
                place
                and candidates[place - 1].query.window.end >= end
                and _took_in(candidates[place - 1], cover, terms)
            ):
                break
        else:
            starts, candidates = placed[cover.filters]
            starts.append(start)
            candidates.append(cover)
            kept.append(cover)
    return kept


def _looseness(cover: Cover) -> tuple[int, datetime, timedelta]:
    (resource, service), window = cover.filters, cover.query.window
    return (resource is not None) + (service is not None), window.start, window.start - window.end


def _took_in(container: Cover, cover: Cover, terms: Terms) -> bool:
    """Let a cover serve another's parts, unless that could take more calls than these take alone."""
    unasked = _unasked(container.query, (container, cover))
    calls_alone = container.calls_alone + cover.calls_alone
    if terms.most_calls(container.query, unasked) > calls_alone:
        return False
    container.parts += cover.parts
    container.calls_alone, container.unasked = calls_alone, unasked
    return True


def _merged(covers: Iterable[Cover], loosening: Lists, clusters: _Clustering, terms: Terms) -> list[Cover]:
    """The covers, with one in place of each cluster where that pays."""
    groups: defaultdict[_Filters, list[Cover]] = defaultdict(list)
    for cover in covers:
        resource, service = cover.filters
        groups[None if loosening.resources else resource, None if loosening.services else service].append(cover)
    merged: list[Cover] = []
    for filters, group in groups.items():
        for cluster in clusters(group) if len(group) > 1 else [group]:
            together = _together(cluster, filters) if len(cluster) > 1 else None
            merged += [together] if together and terms.pays(together, cluster) else cluster
    return merged


def _together(cluster: Sequence[Cover], filters: _Filters) -> Cover:
    window = Window(
        min(each.query.window.start for each in cluster),
        max(each.query.window.end for each in cluster),
    )
    query = replace(cluster[0].query, window=window, resource=filters[0], service=filters[1])
    return Cover(
        query,
        [part for each in cluster for part in each.parts],
        sum(each.calls_alone for each in cluster),
        _unasked(query, cluster),
    )


def _unasked(query: TimeslotQuery, covers: Iterable[Cover]) -> Lists:
    """The lists of the ids that some part of the covers names, and a query in their place does not."""
    resources = services = False
    for cover in covers:
        resources |= cover.unasked.resources or cover.query.resource != query.resource
        services |= cover.unasked.services or cover.query.service != query.service
    return Lists(resources, services)


def _equal(covers: Iterable[Cover]) -> Iterable[list[Cover]]:
    """Covers whose windows are the same."""
    clusters: defaultdict[Window, list[Cover]] = defaultdict(list)
    for cover in covers:
        clusters[cover.query.window].append(cover)
    return clusters.values()


def _touching(covers: Iterable[Cover]) -> Iterable[list[Cover]]:
    """Covers whose windows make one unbroken stretch."""
    clusters: list[list[Cover]] = []
    end: datetime | None = None
    for cover in sorted(covers, key=lambda cover: cover.query.window.start):
        window = cover.query.window
        if end is None or window.start > end:
            clusters.append([cover])
            end = window.end
        else:
            clusters[-1].append(cover)
            end = max(end, window.end)
    return clusters
