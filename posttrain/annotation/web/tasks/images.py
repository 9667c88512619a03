"""Images of image pairs: only those in the table, only to who has a task with them, only from the project's folder."""

import os
import stat

from fastapi import APIRouter, Depends, HTTPException, Request
from sqlalchemy import select
from starlette.responses import Response

from posttrain.annotation.store.tables import claims, images, tasks
from posttrain.annotation.web.visitors import ANYBODY, Anybody, checked_form, site_of

ROUTER = APIRouter(dependencies=[Depends(ANYBODY), Depends(checked_form)])
MAX_IMAGE = 20_000_000  # bytes


@ROUTER.get("/images/{number}")
def image(request: Request, user: Anybody, number: int) -> Response:
    """An image by its number in the table; 404 for everything else, whatever the reason."""
    project = site_of(request).project
    with project.store.reading() as connection:
        found = connection.execute(select(images).where(images.c.id == number)).one_or_none()
        is_allowed = (
            found is not None
            and connection.execute(
                select(claims.c.id)
                .select_from(claims.join(tasks, tasks.c.id == claims.c.task))
                .where(tasks.c.item == found.item, claims.c.user == user.id)
                .limit(1)
            ).one_or_none()
            is not None
        )
    if found is None or not (is_allowed or user.role == "admin"):
        raise HTTPException(404, "There is no such image.")
    try:
        content = _content(str(project.images / found.name))
    except OSError as error:
        raise HTTPException(404, "There is no such image.") from error
    return Response(content, media_type=found.media_type)


def _content(path: str) -> bytes:
    """Of a plain file: a link in its place could lead out of the folder."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_IMAGE:
            raise OSError(f"{path} is no file that an image may be")
        return file.read()
