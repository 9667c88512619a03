"""The base of every `Config`: a frozen pydantic model that refuses settings it does not know."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())
