"""The documented endpoints of Leyr's REST API: who may call, and the lists of a clinic (E1 to E5)."""

import secrets
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

import orjson

from gateway.simulator.appointments import BookedTime, Schedules
from gateway.simulator.appointments_api import AppointmentsApi
from gateway.simulator.behaviour import Behaviour, BehaviourRegistry
from gateway.simulator.booking import FreeTimes
from gateway.simulator.calendar import SlotQuery, World
from gateway.simulator.clinics import CareUnit, Clinic, HealthcareService, Resource
from gateway.simulator.ehrs import EHRS, FilterPolicy
from gateway.simulator.http_messages import WRITES, LeyrError, Request, Response, invalid, rejected
from gateway.simulator.patients import Patients
from gateway.simulator.patients_api import PatientsApi
from gateway.simulator.typed_ids import find_resource

_DAY_SECONDS = 24 * 60 * 60
# Clocks differ, and a call is on its way for a while.
_A_MINUTE = 60


class LeyrApi:
    """Leyr's endpoints; `credentials` are the client id and the client secret that requests must carry.

    `now` gives the seconds since 1970.
    """

    def __init__(
        self,
        credentials: tuple[str, str],
        world: World,
        behaviour: BehaviourRegistry,
        now: Callable[[], float],
        schedules: Schedules,
    ) -> None:
        self._credentials = credentials
        self._now = now
        self._world = world
        self._behaviour = behaviour
        self._schedules = schedules
        self._patients = Patients(world.seed)
        self._patients_api = PatientsApi(behaviour, self._patients)
        self._appointments_api = AppointmentsApi(world, behaviour, schedules, self._patients, now)
        # Clients ask for the same few windows, and a list of 60 days may be half a megabyte.
        self._slots = lru_cache(maxsize=128)(self._write_slots)

    def respond(self, request: Request) -> Response:
        """Answer a request, with an error envelope where it is wrong."""
        try:
            self._authorize(request.headers)
            return self._dispatch(request)
        except LeyrError as error:
            return error.response()

    def reset(self) -> None:
        """Forget every appointment, and every patient who was not there from the start."""
        self._schedules.clear()
        self._patients.clear()

    def _authorize(self, headers: Mapping[str, str]) -> None:
        for name, expected in zip(("id", "secret"), self._credentials, strict=True):
            given = headers.get(f"x-leyr-client-{name}", "")
            if not secrets.compare_digest(given.encode(), expected.encode()):
                raise LeyrError(401, "UNAUTHORIZED", f"The client {name} is missing or not valid")

    def _dispatch(self, request: Request) -> Response:
        route = request.route
        if route.endpoint is None or route.emr is None:
            # Legacy paths without a care unit and FHIR paths end here too; the real answer is unknown.
            raise LeyrError(404, "NOT_FOUND", "The requested path does not exist")
        if request.method != WRITES.get(route.endpoint, "GET"):
            raise LeyrError(405, "METHOD_NOT_ALLOWED", "The method is not allowed for this path")
        if route.emr not in EHRS:
            permitted = ", ".join(f"'{code}'" for code in EHRS)
            message = f"value is not a valid enumeration member; permitted: {permitted} (type=type_error.enum)"
            raise invalid("path", "emr", message=message)
        care_units = self._world.care_units(route.emr)
        if route.endpoint == "care_units":
            return self._list(route.emr, care_units.values())
        if route.care_unit is None or route.care_unit not in care_units:
            raise rejected("INVALID_CARE_UNIT_ID", "The care unit id is not valid")
        return self._within_unit(request, route.emr, route.care_unit)

    def _within_unit(self, request: Request, emr: str, care_unit: str) -> Response:
        clinic = self._world.clinic(emr, care_unit)
        match request.route.endpoint:
            case "resources":
                return self._list(emr, clinic.resources)
            case "healthcare_services":
                return self._list(emr, clinic.services)
            case "resource":
                resource = find_resource(clinic, emr, request.route.item or "")
                return Response(orjson.dumps(resource.to_json()))
            case "timeslots":
                return self._timeslots(request, emr, clinic)
            case "patients" | "patient" | "create_patient":
                return self._patients_api.respond(request, emr, care_unit)
            case _:
                return self._appointments_api.respond(request, emr, care_unit)

    def _list(self, emr: str, items: Iterable[CareUnit | Resource | HealthcareService]) -> Response:
        return self._list_response(emr, orjson.dumps([item.to_json() for item in items]))

    def _list_response(self, emr: str, array: bytes) -> Response:
        return Response(b'{"items":' + array + b"}" if self._behaviour[emr].wrapped_lists else array)

    def _timeslots(self, request: Request, emr: str, clinic: Clinic) -> Response:
        behaviour = self._behaviour[emr]
        query = SlotQuery(
            request.instant("start"),
            request.instant("end"),
            request.value("resource_id"),
            request.value("healthcare_service_id"),
        )
        _check_window(query, behaviour.longest_window_days)
        if not behaviour.takes_past and query.start < self._now() - _A_MINUTE:
            raise rejected("BAD_INPUT", "The period must not begin in the past")
        _check_filters(query, behaviour.filter_policy or "none_required")
        _check_ids(query, clinic)
        if behaviour.ignores_filters:
            query = SlotQuery(query.start, query.end, None, None)
        version = self._schedules.of(emr, clinic.unit.id).version
        body = self._slots(query, behaviour, emr, clinic.unit.id, version)
        if body == b"[]" and behaviour.empty_answer == "error":
            raise rejected("NO_TIMESLOTS_AVAILABLE", "No timeslots available for the given parameters")
        return self._list_response(emr, body)

    def _write_slots(self, query: SlotQuery, behaviour: Behaviour, emr: str, care_unit: str, version: int) -> bytes:
        calendar = self._world.calendar(emr, care_unit)
        slots = calendar.find(query, by_start=behaviour.membership == "by_start")
        # Without appointments, the lists are as they always were, and cost no more.
        if version:
            clinic, schedule = self._world.clinic(emr, care_unit), self._schedules.of(emr, care_unit)
            free_times = FreeTimes(clinic, calendar, schedule, behaviour)
            slots = [slot for slot in slots if not free_times.is_full(BookedTime(*slot[:4]))]
        return calendar.write(slots, behaviour)


def _check_ids(query: SlotQuery, clinic: Clinic) -> None:
    # Docs page D8 does not promise typed ids here, so only plain ones are known.
    if query.resource_id is not None and all(one.id != query.resource_id for one in clinic.resources):
        raise rejected("INVALID_RESOURCE_ID", "The resource id is not valid")
    if query.service_id is not None and all(one.id != query.service_id for one in clinic.services):
        raise rejected("INVALID_HEALTHCARE_SERVICE_ID", "The healthcare service id is not valid")


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
