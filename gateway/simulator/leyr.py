"""The documented read endpoints of Leyr's REST API, E1 to E5."""

import secrets
from collections.abc import Mapping, Sequence

import orjson

from gateway.simulator.answers import Answer
from gateway.simulator.clinics import CareUnit, HealthcareService, Resource
from gateway.simulator.diary import AnswerMemo, SlotQuery
from gateway.simulator.ehrs import EHRS
from gateway.simulator.manners import FilterPolicy, Manners, MannersBook
from gateway.simulator.problems import Problem, Refusal, invalid, rejected
from gateway.simulator.requests import Request, Route
from gateway.simulator.settings import SimulatorSettings
from gateway.simulator.universe import Universe

_DAY_SECONDS = 24 * 60 * 60
# Docs page D8 names these id types; only webdoc knows more than the first one.
_ID_TYPES = ("emr_id", "hsa_id", "se_personal_number", "no_personal_number")


class LeyrApi:
    """Answers requests from the universe, according to each EHR's manners."""

    def __init__(self, settings: SimulatorSettings, universe: Universe, manners: MannersBook) -> None:
        self._credentials = (settings.client_id, settings.client_secret)
        self._universe = universe
        self._manners = manners
        self._memo = AnswerMemo()

    def answer(self, request: Request) -> Answer:
        """Answer a request, problems included."""
        try:
            self._authorize(request.headers)
            return self._dispatch(request)
        except Refusal as refusal:
            return refusal.problem.answer()

    def _authorize(self, headers: Mapping[str, str]) -> None:
        for name, expected in zip(("id", "secret"), self._credentials, strict=True):
            given = headers.get(f"x-leyr-client-{name}", "")
            if not secrets.compare_digest(given.encode(), expected.encode()):
                raise Refusal(Problem(401, "UNAUTHORIZED", f"The client {name} is missing or not valid"))

    def _dispatch(self, request: Request) -> Answer:
        route = request.route
        if route.endpoint is None or route.emr is None:
            # Legacy paths without a care unit and FHIR paths end here too; the real answer is unknown.
            raise Refusal(Problem(404, "NOT_FOUND", "The requested path does not exist"))
        if request.method != "GET":
            raise Refusal(Problem(405, "METHOD_NOT_ALLOWED", "The method is not allowed for this path"))
        if route.emr not in EHRS:
            permitted = ", ".join(f"'{code}'" for code in EHRS)
            message = f"value is not a valid enumeration member; permitted: {permitted} (type=type_error.enum)"
            raise invalid("path", "emr", message=message)
        if route.endpoint == "care_units":
            return self._list(route.emr, list(self._universe.care_units(route.emr).values()))
        return self._within_unit(request, route.emr, self._care_unit(route))

    def _care_unit(self, route: Route) -> str:
        if route.care_unit is None or route.care_unit not in self._universe.care_units(route.emr or ""):
            raise rejected("INVALID_CARE_UNIT_ID", "The care unit id is not valid")
        return route.care_unit

    def _within_unit(self, request: Request, emr: str, care_unit: str) -> Answer:
        clinic = self._universe.clinic(emr, care_unit)
        match request.route.endpoint:
            case "resources":
                return self._list(emr, clinic.resources)
            case "healthcare_services":
                return self._list(emr, clinic.services)
            case "resource":
                return self._resource(emr, clinic.resources, request.route.resource or "")
            case _:
                return self._timeslots(request, emr, care_unit)

    def _list(self, emr: str, items: Sequence[CareUnit | Resource | HealthcareService]) -> Answer:
        return self._array(emr, orjson.dumps([item.describe() for item in items]))

    def _array(self, emr: str, array: bytes) -> Answer:
        return Answer(b'{"items":' + array + b"}" if self._manners[emr].wrapped_lists else array)

    def _resource(self, emr: str, resources: Sequence[Resource], typed_id: str) -> Answer:
        kind, colon, value = typed_id.partition(":")
        if colon and kind in _ID_TYPES[1:] and not EHRS[emr].hsa_ids:
            details = "This EMR cannot look up by this type of id"
            raise rejected("PATIENT_ID_LOOKUP_TYPE_NOT_SUPPORTED", details)
        for resource in resources:
            known = {("emr_id", resource.emr_id), ("hsa_id", resource.hsa_id)}
            if resource.id == typed_id or (colon and (kind, value) in known):
                return Answer(orjson.dumps(resource.describe()))
        raise rejected("INVALID_RESOURCE_ID", "The resource id is not valid")

    def _timeslots(self, request: Request, emr: str, care_unit: str) -> Answer:
        manners = self._manners[emr]
        query = SlotQuery(
            request.instant("start"),
            request.instant("end"),
            request.value("resource_id"),
            request.value("healthcare_service_id"),
        )
        _check_window(query, manners.longest_window_days)
        _check_filters(query, manners.filter_policy or "none_required")
        self._check_ids(query, emr, care_unit)
        body = self._slots(query, manners, emr, care_unit)
        if body == b"[]" and manners.empty_answer == "error":
            raise rejected("NO_TIMESLOTS_AVAILABLE", "No timeslots available for the given parameters")
        return self._array(emr, body)

    def _check_ids(self, query: SlotQuery, emr: str, care_unit: str) -> None:
        clinic = self._universe.clinic(emr, care_unit)
        # Docs page D8 does not promise typed ids here, so only plain ones are known.
        if query.resource_id is not None and all(one.id != query.resource_id for one in clinic.resources):
            raise rejected("INVALID_RESOURCE_ID", "The resource id is not valid")
        if query.service_id is not None and all(one.id != query.service_id for one in clinic.services):
            raise rejected("INVALID_HEALTHCARE_SERVICE_ID", "The healthcare service id is not valid")

    def _slots(self, query: SlotQuery, manners: Manners, emr: str, care_unit: str) -> bytes:
        if manners.ignores_filters:
            query = SlotQuery(query.start, query.end, None, None)
        diary = self._universe.diary(emr, care_unit)
        stretch = diary.stretch(query, by_start=manners.membership == "by_start")
        key = (emr, care_unit, stretch, manners)
        body = self._memo.get(key)
        if body is None:
            body = diary.write(diary.find(stretch), manners)
            self._memo.keep(key, body)
        return body


def _check_window(query: SlotQuery, longest_days: int | None) -> None:
    if query.end <= query.start:
        raise invalid("query", "end", message="end must be after start (type=value_error)")
    if longest_days is not None and query.end - query.start > longest_days * _DAY_SECONDS:
        raise rejected("BAD_INPUT", f"The period must not be longer than {longest_days} days")


def _check_filters(query: SlotQuery, policy: FilterPolicy) -> None:
    resource, service = query.resource_id is not None, query.service_id is not None
    satisfied = {
        "none_required": True,
        "any_one": resource or service,
        "resource": resource,
        "service": service,
        "both": resource and service,
    }
    if not satisfied[policy]:
        raise rejected("MISSING_REQUIRED_FIELD", f"Missing required filter ({policy})")
