"""Routes about users; for administrators."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response, status

from services.license.adapters.accounts import Accounts
from services.license.api.access import Access, Caller
from services.license.api.answers import BY_USER, refusals
from services.license.api.schemas import NewUser, UserChange, UserReport
from services.license.core.users import Right, User


def routes(accounts: Accounts, access: Access) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["users"])
    administrator = Depends(access.needs(Right.ADMINISTER))

    @router.get(
        "/users",
        openapi_extra=BY_USER,
        responses=refusals(401, 403),
        dependencies=[administrator],
    )
    def users() -> list[UserReport]:
        """The users, by name."""
        return [_report(user) for user in accounts.users()]

    @router.post(
        "/users",
        status_code=status.HTTP_201_CREATED,
        openapi_extra=BY_USER,
        responses=refusals(400, 401, 403, 409),
    )
    async def add(body: NewUser, who: Annotated[Caller, administrator]) -> UserReport:
        """Add a user."""
        return _report(await access.slowly(
            lambda: accounts.add(body.name, body.role, body.password, who.name)
        ))  # fmt: skip

    @router.put("/users/{name}", openapi_extra=BY_USER, responses=refusals(400, 401, 403, 404, 409))
    async def change(
        name: str, body: UserChange, who: Annotated[Caller, administrator]
    ) -> UserReport:
        """Change a user's role or password, disable or enable a user; what is left out stays."""
        return _report(await access.slowly(
            lambda: accounts.change(name, who.name, body.role, body.disabled, body.password)
        ))  # fmt: skip

    @router.delete(
        "/users/{name}",
        status_code=status.HTTP_204_NO_CONTENT,
        openapi_extra=BY_USER,
        responses=refusals(401, 403, 404, 409),
    )
    def remove(name: str, who: Annotated[Caller, administrator]) -> Response:
        """Remove a user and all sessions."""
        accounts.remove(name, who.name)
        return Response(status_code=status.HTTP_204_NO_CONTENT)

    return router


def _report(user: User) -> UserReport:
    return UserReport(
        name=user.name, role=user.role, disabled=user.disabled, last_sign_in=user.last_sign_in
    )
