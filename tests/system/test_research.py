"""The research script of the documentation runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_research__runs_with_the_face_alone(repository: Path, tmp_path: Path) -> None:
    script = repository / "docs" / "research.py"
    imported = [line for line in script.read_text().splitlines() if line.startswith(("import vcfrag", "from vcfrag"))]
    assert imported == ["import vcfrag_core as vc"]
    plot = tmp_path / "research.png"
    done = subprocess.run([sys.executable, script, plot], capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.split("masked sites ")[1]) > 0.8
    assert plot.read_bytes().startswith(b"\x89PNG")
