"""The administrator's pages: people, tasks that need a look, guidelines, the audit log."""

import time

from fastapi import APIRouter, Depends, HTTPException, Request
from sqlalchemy import select, update
from starlette.responses import Response

from posttrain.annotation.store import accounts, events, guidance, reading
from posttrain.annotation.store.accounts import ROLES, Role
from posttrain.annotation.store.events import note
from posttrain.annotation.store.tables import invites, tasks, users
from posttrain.annotation.web import pages
from posttrain.annotation.web.visitors import (
    ANYBODY,
    GOVERNING,
    Anybody,
    Form,
    Governing,
    checked_form,
    field,
    site_of,
)

ROUTER = APIRouter(dependencies=[Depends(GOVERNING), Depends(checked_form)])
READING = APIRouter(dependencies=[Depends(ANYBODY), Depends(checked_form)])
MAX_GUIDELINES = 100_000
NUM_EVENTS = 200


@ROUTER.get("/people")
def people(request: Request, user: Governing) -> Response:
    return _people(request, user, "")


@ROUTER.post("/people/invite")
def invite(request: Request, user: Governing, form: Form) -> Response:
    """Show the link of a new invitation, once: only a hash of its code is kept."""
    role = _role(field(form, "role"))
    with site_of(request).project.store.writing() as connection:
        code = accounts.invite(connection, role, time.time(), user.id)
    return _people(request, user, f"{request.headers['origin']}/join#{code}")


@ROUTER.post("/people/{person}/access")
def access(request: Request, user: Governing, form: Form, person: int) -> Response:
    """Change a role, or close an account; the person's sessions end."""
    role, is_active = _role(field(form, "role")), field(form, "is_active") == "yes"
    if person == user.id:
        raise HTTPException(422, "Ask another administrator to change your own access.")
    with site_of(request).project.store.writing() as connection:
        if not accounts.set_access(connection, person, role, is_active, time.time(), user.id):
            raise HTTPException(404, "There is no such person.")
    return pages.to("/people")


@ROUTER.post("/people/invites/{number}/revoke")
def revoke(request: Request, user: Governing, number: int) -> Response:
    """Make an invitation worthless."""
    with site_of(request).project.store.writing() as connection:
        changed = connection.execute(update(invites).where(invites.c.id == number).values(revoked=time.time()))
        if changed.rowcount != 1:
            raise HTTPException(404, "There is no such invitation.")
        note(connection, user.id, "revoke", {"invite": number})
    return pages.to("/people")


@ROUTER.get("/tasks")
def flagged(request: Request, user: Governing) -> Response:
    """Tasks that annotators flagged or skipped, and those set aside."""
    with site_of(request).project.store.reading() as connection:
        found = reading.tasks_to_look_at(connection)
    return pages.page(request, "tasks.html", user, tasks=found)


@ROUTER.post("/tasks/{task}/aside")
def set_aside(request: Request, user: Governing, form: Form, task: int) -> Response:
    """Offer a task to nobody any more, or offer it again. Its answers stay."""
    is_set_aside = field(form, "is_set_aside") == "yes"
    with site_of(request).project.store.writing() as connection:
        changed = connection.execute(update(tasks).where(tasks.c.id == task).values(is_set_aside=is_set_aside))
        if changed.rowcount != 1:
            raise HTTPException(404, "There is no such task.")
        note(connection, user.id, "set aside" if is_set_aside else "offer again", {"task": task})
    return pages.to("/tasks")


@READING.get("/guidelines")
def guidelines(request: Request, user: Anybody) -> Response:
    """The newest version, and for administrators a form for the next."""
    with site_of(request).project.store.reading() as connection:
        versions = guidance.all_versions(connection)
    return pages.page(request, "guidelines.html", user, versions=versions)


@ROUTER.post("/guidelines")
def publish(request: Request, user: Governing, form: Form) -> Response:
    """Put a new version in force. Annotators see it before their next task."""
    text = field(form, "text", MAX_GUIDELINES).replace("\r\n", "\n").strip()
    if not text:
        raise HTTPException(422, "The guidelines are empty.")
    with site_of(request).project.store.writing() as connection:
        guidance.publish(connection, text, user.id)
    return pages.to("/guidelines")


@ROUTER.get("/log")
def log(request: Request, user: Governing) -> Response:
    """The audit log, newest first."""
    with site_of(request).project.store.reading() as connection:
        found = events.latest(connection, NUM_EVENTS)
    return pages.page(request, "log.html", user, events=found)


def _people(request: Request, user: accounts.User, link: str) -> Response:
    now = time.time()
    with site_of(request).project.store.reading() as connection:
        found = connection.execute(
            select(users.c.id, users.c.name, users.c.role, users.c.is_active, users.c.is_imported).order_by(users.c.id)
        ).all()
        open_invites = connection.execute(
            select(invites.c.id, invites.c.role, invites.c.expires)
            .where(invites.c.used_by.is_(None), invites.c.revoked.is_(None), invites.c.expires > now)
            .order_by(invites.c.id.desc())
        ).all()
        counts = {each.id: reading.num_of(connection, each.id) for each in found}
    return pages.page(
        request, "people.html", user, people=found, invites=open_invites, counts=counts, link=link, roles=ROLES, now=now
    )


def _role(given: str) -> Role:
    for role in ROLES:
        if given == role:
            return role
    raise HTTPException(422, f"A role is one of {', '.join(ROLES)}.")
