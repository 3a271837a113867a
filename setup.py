"""A wheel carries ``conf/`` and the YAML files of ``experiments/`` inside the package; pyproject.toml can't say so."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfiguration(build_py):
    """Copies the configuration into the built package; an editable install reads it where it lies."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for file in [file for folder in ("conf", "experiments") for file in sorted(Path(folder).rglob("*.yaml"))]:
            target = Path(self.build_lib, "colbertv2", file)
            self.mkpath(str(target.parent))
            self.copy_file(str(file), str(target))


setup(cmdclass={"build_py": BuildWithConfiguration})
