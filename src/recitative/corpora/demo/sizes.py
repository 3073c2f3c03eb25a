"""How much of everything the embedded corpus has."""

from typing import Self

from pydantic import Field, model_validator

from recitative.config import Section


class DemoConfig(Section):
    """Sizes of the embedded corpus. The seed decides every sentence, voice, note and rating."""

    speech_minutes: float = Field(default=10, gt=0, le=600)  # a language
    speakers: int = Field(default=8, ge=6, le=500)  # a language
    music_clips: int = Field(default=60, ge=15, le=9000)  # a set
    artists: int = Field(default=18, ge=15, le=500)  # a set
    clip_seconds: float = Field(default=12, ge=1, le=600)
    raters: int = Field(default=9, ge=2, le=99)  # a set
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _every_artist_has_a_clip(self) -> Self:
        if self.music_clips < self.artists:
            raise ValueError(f"{self.artists} artists need as many music_clips at least")
        return self
