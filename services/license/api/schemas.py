"""Schemas of what only people and their pages send: sign-in and users."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from services.common.license_api import Role

_Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f-\x9f]+$")]
_Password = Annotated[str, Field(max_length=1000)]


class _Schema(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SetupReport(_Schema):
    """``GET /api/v1/setup``."""

    needed: bool
    """Nobody can sign in yet: the setup code makes the first administrator."""
    reset_pending: bool
    """A user has a code with which to choose a new password."""


class SetupRequest(_Schema):
    """``POST /api/v1/setup``."""

    code: Annotated[str, Field(min_length=1, max_length=100)]
    user: _Name
    password: _Password


class SignIn(_Schema):
    """``POST /api/v1/session``."""

    user: _Name
    password: _Password


class PasswordChange(_Schema):
    """``PUT /api/v1/session/password``."""

    old: _Password
    new: _Password


class SessionReport(_Schema):
    """Who is signed in."""

    user: str
    role: Role
    csrf: str
    """To be sent as ``X-CSRF-Token`` with each call that changes something."""
    expires_in_s: int


class UserReport(_Schema):
    """A user."""

    name: str
    role: Role
    disabled: bool
    last_sign_in: int | None
    """Unix seconds; null: never."""


class NewUser(_Schema):
    """``POST /api/v1/users``."""

    name: _Name
    role: Role
    password: _Password


class UserChange(_Schema):
    """``PUT /api/v1/users/{name}``; what is left out stays."""

    role: Role | None = None
    disabled: bool | None = None
    password: _Password | None = None
