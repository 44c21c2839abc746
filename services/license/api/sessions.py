"""Routes of people: set-up, sign-in, sign-out, password."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response, status
from starlette.concurrency import run_in_threadpool

from services.license.adapters.accounts import Accounts, NotSignedInError, SignedIn
from services.license.api.access import COOKIE, Access, Caller, address_of, require_same_site
from services.license.api.answers import BY_SESSION, OPEN, refusals
from services.license.api.schemas import (
    PasswordChange,
    SessionReport,
    SetupReport,
    SetupRequest,
    SignIn,
)


def routes(accounts: Accounts, access: Access) -> APIRouter:
    """The routes."""
    router = APIRouter(tags=["sessions"])
    signed_in = Depends(access.session)

    @router.get("/setup", openapi_extra=OPEN)
    def setup_state() -> SetupReport:
        """Whether the first administrator is still to be made."""
        needed, reset = accounts.setup_needed()
        return SetupReport(needed=needed, reset_pending=reset)

    @router.post(
        "/setup",
        status_code=status.HTTP_201_CREATED,
        openapi_extra=OPEN,
        responses=refusals(400, 403, 409, 429),
    )
    async def set_up(request: Request, body: SetupRequest, response: Response) -> SessionReport:
        """Make the first administrator with the setup code, or choose a new password with one."""
        require_same_site(request)
        address = address_of(request)
        return _given(response, await access.slowly(
            lambda: accounts.set_up(body.code, body.user, body.password, address)
        ))  # fmt: skip

    @router.post("/session", openapi_extra=OPEN, responses=refusals(400, 401, 403, 429))
    async def sign_in(request: Request, body: SignIn, response: Response) -> SessionReport:
        """Sign in: the answer sets the cookie."""
        require_same_site(request)
        address = address_of(request)
        begun = await access.slowly(lambda: accounts.sign_in(body.user, body.password, address))
        old = request.cookies.get(COOKIE)
        if old:
            await run_in_threadpool(accounts.forget, old)
        return _given(response, begun)

    @router.get("/session", openapi_extra=BY_SESSION, responses=refusals(401))
    async def session(caller: Annotated[Caller, signed_in]) -> SessionReport:
        """Who is signed in in this browser."""
        return _report(_signed_in(caller))

    @router.delete(
        "/session",
        status_code=status.HTTP_204_NO_CONTENT,
        openapi_extra=BY_SESSION,
        responses=refusals(401, 403),
    )
    async def sign_out(caller: Annotated[Caller, signed_in]) -> Response:
        """Sign out."""
        await run_in_threadpool(accounts.sign_out, _signed_in(caller))
        response = Response(status_code=status.HTTP_204_NO_CONTENT)
        response.delete_cookie(COOKIE, path="/", secure=True, httponly=True, samesite="strict")
        return response

    @router.put(
        "/session/password", openapi_extra=BY_SESSION, responses=refusals(400, 401, 403, 429)
    )
    async def password(
        caller: Annotated[Caller, signed_in],
        request: Request,
        body: PasswordChange,
        response: Response,
    ) -> SessionReport:
        """Choose a new password: all other sessions of the user end, this one goes on anew."""
        who = _signed_in(caller).user
        address = address_of(request)
        return _given(response, await access.slowly(
            lambda: accounts.change_password(who, body.old, body.new, address)
        ))  # fmt: skip

    return router


def _signed_in(caller: Caller) -> SignedIn:
    if caller.signed_in is None:
        raise NotSignedInError("not signed in: sign in")
    return caller.signed_in


def _given(response: Response, signed_in: SignedIn) -> SessionReport:
    response.set_cookie(
        COOKIE, signed_in.token, path="/", secure=True, httponly=True, samesite="strict"
    )
    return _report(signed_in)


def _report(signed_in: SignedIn) -> SessionReport:
    user = signed_in.user
    return SessionReport(
        user=user.name, role=user.role, csrf=signed_in.csrf, expires_in_s=int(signed_in.left_s)
    )
