"""The judges of a study: models beside the one under study, opened when first asked and shared by all variants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compressed_lens.errors import StudyError
from compressed_lens.ids import digest, folder_digest
from compressed_lens.registry import nearest
from compressed_lens.study.schema import FULL, JudgeSpec, Study

if TYPE_CHECKING:
    from compressed_lens.analyses.base import Analysis
    from compressed_lens.lm.protocol import Answering


class Judges:
    """Opens the judges of a study by name, each once."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._specs = {spec.name: spec for spec in study.judges}
        self._open: dict[str, Answering] = {}
        self._identities: dict[str, str] = {}

    def identity(self, name: str) -> str:
        """Return the digest of all that decides what a judge answers.

        Raises:
            LensError: Its folder is missing, or the hub cannot give it.
        """
        if name not in self._identities:
            spec = self._specs[name]
            if spec.url is not None:
                self._identities[name] = digest([spec.url, spec.model])
            else:
                from compressed_lens.lm.locate import locate_model

                origin = folder_digest(locate_model(spec.path or "", spec.revision))
                self._identities[name] = digest([origin, spec.dtype, self._study.settings.device])
        return self._identities[name]

    def get(self, name: str) -> Answering:
        """Return a judge, loaded or connected to when it is first asked for.

        Raises:
            LensError: It cannot be loaded.
        """
        if name not in self._open:
            self._open[name] = self._opened(self._specs[name])
        return self._open[name]

    def _opened(self, spec: JudgeSpec) -> Answering:
        if spec.url is not None:
            from compressed_lens.lm.endpoint import EndpointModel

            return EndpointModel(
                spec.url,
                spec.model or "",
                api_key_env=spec.api_key_env,
                timeout=spec.timeout,
                patience=spec.patience,
                concurrency=spec.concurrency,
                name=spec.name,
            )
        from compressed_lens.lm.companion import open_model
        from compressed_lens.lm.locate import locate_model

        return open_model(
            locate_model(spec.path or "", spec.revision),
            device=self._study.settings.device,
            dtype=spec.dtype,
            name=spec.name,
            trust_remote_code=spec.trust_remote_code,
        )


def check_roles(study: Study, name: str, analysis: Analysis) -> None:
    """Check that the study has every model that an analysis asks.

    Raises:
        StudyError: It names a judge the study does not have, or `full` where a model has no path.
    """
    from compressed_lens.analyses.base import roles_of

    judges = [spec.name for spec in study.judges]
    for role in roles_of(analysis):
        if role == FULL:
            bare = [model.name for model in study.models if model.path is None]
            if bare:
                raise StudyError(
                    f"Analysis '{name}' asks the full-precision model, and model '{bare[0]}' has no path.",
                    fix="Give the model a path, or set the analysis to another judge.",
                )
        elif role not in judges:
            wanted = role or "(none)"
            raise StudyError(
                f"Analysis '{name}' asks a judge '{wanted}', and the study has "
                f"{'no judges' if not judges else 'the judges ' + ', '.join(judges)}.",
                fix=nearest(role, judges) or f"Add it under `judges`: {{name: {role or 'mine'}, path: FOLDER}}.",
            )
