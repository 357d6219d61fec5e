"""Genetic maps of every layout, and those that must not be used."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcfrag_core.errors import GeneticMapError
from vcfrag_core.files.tables import genetic_map, text
from vcfrag_core.files.tables.genetic_map import map_for, read_genetic_map, require_contigs
from vcfrag_core.files.tables.text import file_state
from vcfrag_core.panel.genetic_map import GeneticMapWarning
from vcfrag_core.panel.panel import Panel

ROWS = [(1000, 0.0), (2000, 0.5), (5000, 0.5), (9000, 4.25)]

LAYOUTS = {
    "plink": ["{c} rs{p} {m} {p}", None],
    "plink with tabs": ["{c}\trs{p}\t{m}\t{p}", None],
    "shapeit": ["{p} {c} {m}", "pos chr cM"],
    "shapeit without header": ["{p} {c} {m}", None],
    "without ids": ["{c} {p} {m}", None],
    "without ids, with header": ["{c}\t{p}\t{m}", "chr\tpos\tcM"],
    "hapmap": ["chr{c}\t{p}\t1.5\t{m}", "Chromosome\tPosition(bp)\tRate(cM/Mb)\tMap(cM)"],
    "eagle": ["{c} {p} 1.5 {m}", "chr position COMBINED_rate(cM/Mb) Genetic_Map(cM)"],
    "impute2": ["{p} 1.5 {m}", "position COMBINED_rate(cM/Mb) Genetic_Map(cM)"],
    "commented header": ["{c}\t{p}\t{m}", "#chrom\tpos\tcM"],
}


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def lines_of(layout: str, rows: list[tuple[int, float]], contig: str = "20") -> list[str]:
    row, header = LAYOUTS[layout]
    assert row is not None
    return ([header] if header else []) + [row.format(p=p, m=m, c=contig) for p, m in rows]


def panel_at(*positions: int, contig: str = "20") -> Panel:
    haplotypes = np.zeros((2, len(positions)), dtype=np.int8)
    return Panel.from_haplotypes(haplotypes, contig=contig, positions=np.array(positions))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("contig", ["20", "chr20"])
def test_read_genetic_map__knows_the_layouts_and_the_prefix_chr(tmp_path: Path, layout: str, contig: str) -> None:
    path = write(tmp_path / "map.txt", lines_of(layout, ROWS))
    genetic_map = read_genetic_map(path, contig)
    assert list(zip(genetic_map.positions.tolist(), genetic_map.cm.tolist(), strict=True)) == ROWS
    assert (genetic_map.contig, genetic_map.source) == (contig, str(path))


def test_read_genetic_map__a_byte_order_mark_says_nothing(tmp_path: Path) -> None:
    plain = write(tmp_path / "map.txt", lines_of("hapmap", ROWS))
    marked = tmp_path / "marked.txt"
    marked.write_bytes(b"\xef\xbb\xbf" + plain.read_bytes())
    assert read_genetic_map(marked, "20").digest == read_genetic_map(plain, "20").digest


def test_read_genetic_map__gzipped_is_the_same(tmp_path: Path) -> None:
    plain = write(tmp_path / "map.txt", lines_of("plink", ROWS))
    gzipped = tmp_path / "map.gz"
    gzipped.write_bytes(gzip.compress(plain.read_bytes()))
    assert read_genetic_map(gzipped, "20").digest == read_genetic_map(plain, "20").digest


def test_read_genetic_map__picks_its_contig_of_many(tmp_path: Path) -> None:
    other = [(p + 7, m + 1) for p, m in ROWS]
    path = write(tmp_path / "map.txt", lines_of("plink", other, "2") + lines_of("plink", ROWS, "20"))
    assert read_genetic_map(path, "chr20").positions.tolist() == [p for p, _ in ROWS]
    assert read_genetic_map(path, "2").positions.tolist() == [p + 7 for p, _ in ROWS]


def test_read_genetic_map__blank_and_repeated_lines_change_nothing(tmp_path: Path) -> None:
    lines = lines_of("shapeit", ROWS)
    path = write(tmp_path / "map.txt", [lines[0], "", *(line for row in lines[1:] for line in (row, row)), ""])
    assert read_genetic_map(path, "20").positions.tolist() == [p for p, _ in ROWS]


@given(
    rows=st.lists(st.tuples(st.integers(1, 10**6), st.integers(0, 10**6)), min_size=2, max_size=30),
    layout=st.sampled_from(sorted(LAYOUTS)),
)
def test_read_genetic_map__gives_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, int]], layout: str
) -> None:
    positions = np.cumsum([step for step, _ in rows])
    cm = np.cumsum([rise + 1 for _, rise in rows]) / 1e4
    written = list(zip(positions.tolist(), cm.tolist(), strict=True))
    path = write(tmp_path_factory.mktemp("map") / "map.txt", lines_of(layout, written))
    genetic_map = read_genetic_map(path, "20")
    np.testing.assert_array_equal(genetic_map.positions, positions)
    np.testing.assert_array_equal(genetic_map.cm, cm)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "the file is empty"),
        (["pos chr cM"], "nothing after the header"),
        (["a b c", "1 20 0"], "the header 'a b c' names no position and no cM; write `pos chr cM`"),
        (["20 5", "20 6"], "2 fields and no header; PLINK's `chr id cM bp`"),
        (lines_of("plink", ROWS, "1") + lines_of("plink", ROWS, "X"), "the map is for 1, X, not for 20"),
        ([*lines_of("plink", ROWS), "20 rs 5"], "record line 5: 3 fields, not 4"),
        ([*lines_of("shapeit", ROWS), "9500 20 x"], "record line 6: 'x' is not a number of cM"),
        ([*lines_of("shapeit", ROWS), "9500 20 nan"], "record line 6: 'nan' is not a number of cM"),
        ([*lines_of("shapeit", ROWS), "95.5 20 5"], "record line 6: '95.5' is not a position, a whole number"),
        ([*lines_of("shapeit", ROWS), "8000 20 5"], "line 6: position 8000 at 5 cM comes after 9000 at 4.25 cM; both"),
        ([*lines_of("shapeit", ROWS), "9500 20 4"], "line 6: position 9500 at 4 cM comes after 9000 at 4.25 cM"),
        ([*lines_of("shapeit", ROWS), "9000 20 5"], "line 6: position 9000 at 5 cM comes after 9000 at 4.25 cM"),
        (lines_of("plink", [(p, 0) for p, _ in ROWS]), "holds no genetic distance on 20: all cM are the same"),
        (lines_of("plink", ROWS[:1]), "holds no genetic distance on 20"),
    ],
)
def test_read_genetic_map__refuses(tmp_path: Path, lines: list[str], message: str) -> None:
    path = write(tmp_path / "map.txt", lines)
    with pytest.raises(GeneticMapError, match=message) as caught:
        read_genetic_map(path, "20")
    assert str(caught.value).startswith(str(path))


def test_read_genetic_map__refuses_what_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "map.gz"
    with pytest.raises(GeneticMapError, match="cannot be read: No such file"):
        read_genetic_map(path, "20")
    path.write_bytes(b"\xff\xfe\x00\x01" * 100)
    with pytest.raises(GeneticMapError, match="no text file"):
        read_genetic_map(path, "20")
    path.write_bytes(gzip.compress(b"20 a 0 1\n" * 1000)[:-20])
    with pytest.raises(GeneticMapError, match="damaged or ends early"):
        read_genetic_map(path, "20")


@pytest.mark.parametrize(
    "odd",
    [
        "2000 7 1.5",
        "2_000 7 1.5",
        "2000.0 7 1.5",
        "+2000 7 15e-1",
        "2000 7 inf",
        "99999999999999999999 7 1.5",
        "-9223372036854775808 7 1.5",
        "2000 7",
        "",
        f"2000 {'7' * 33} 1.5",
        "2000 8 nonsense",
    ],
)
@pytest.mark.parametrize("header", ["", "pos chr cM\n", "\n\npos chr cM\n\n"])
def test_read_genetic_map__a_table_says_what_its_lines_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: str, header: str
) -> None:
    path = tmp_path / "map.txt"
    lines = [
        "1000 7 1.25",
        f"1500 {'7' * 32} 1.3",
        f"1600 {'7' * 33} 1.3",
        odd,
        "3000 7 2.1",
        "1000 8 0.1",
        "4000 7 2.2",
    ]
    path.write_text(header + "\n".join(lines))

    def said() -> object:
        genetic_map._parse.cache_clear()
        try:
            there = genetic_map._parse(path, ())
        except GeneticMapError as error:
            return str(error)
        return {name: (lines.numbers, lines.positions, lines.cm, lines.fault) for name, lines in there.items()}

    at_once = said()
    monkeypatch.setattr(genetic_map, "_table", lambda piece, columns: None)
    assert at_once == said()


def test_read_genetic_map__goes_on_from_piece_to_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "map.txt"
    path.write_text("pos chr cM\n" + "".join(f"{i} 7 {i / 100}\n" for i in range(1, 500)) + "600 7 x\n")
    with pytest.raises(GeneticMapError, match="line 501"):
        read_genetic_map(path, "7")
    monkeypatch.setattr(text, "_PIECE", 100)
    genetic_map._parse.cache_clear()
    with pytest.raises(GeneticMapError, match="line 501"):
        read_genetic_map(path, "7")
    assert genetic_map._parse(path, file_state(path))["7"].positions.tolist() == list(range(1, 500))


def test_map_for__without_a_file_is_one_cm_per_mb_and_warns() -> None:
    panel = panel_at(1_000_000, 1_500_000, 4_000_000)
    with pytest.warns(GeneticMapWarning, match="no genetic map: 1 cM per Mb is assumed on 20"):
        genetic_map = map_for(panel, None)
    np.testing.assert_allclose(np.diff(genetic_map.at(panel.positions)), [0.5, 2.5])
    assert genetic_map.source == "1 cM per Mb"


def test_map_for__without_a_file_serves_a_panel_of_one_site() -> None:
    with pytest.warns(GeneticMapWarning):
        assert len(map_for(panel_at(77), None).positions) == 2


def test_map_for__reads_the_panels_contig(tmp_path: Path) -> None:
    path = write(tmp_path / "map.txt", lines_of("plink", ROWS))
    panel = panel_at(1500, 5000, 7000, contig="chr20")
    genetic_map = map_for(panel, path)
    assert genetic_map.contig == "chr20"
    np.testing.assert_allclose(genetic_map.at(panel.positions), [0.25, 0.5, 2.375])


def test_map_for__refuses_a_map_that_covers_less_than_half_of_the_sites(tmp_path: Path) -> None:
    path = write(tmp_path / "map.txt", lines_of("plink", ROWS))
    with pytest.warns(GeneticMapWarning, match="where 2 of the panel's 4 sites lie, its mean rate is assumed"):
        assert map_for(panel_at(500, 1000, 9000, 9500), path).contig == "20"
    for positions, covered in (((1, 2, 3), 0), ((8000, 9001, 10_000), 1)):
        where = (
            rf"covers 20:1000-9000, where {covered} of the panel's 3 sites \(20:{positions[0]}-{positions[-1]}\) lie"
        )
        with pytest.raises(GeneticMapError, match=where):
            map_for(panel_at(*positions), path)


def test_read_genetic_map__a_position_beyond_every_contig_is_none(tmp_path: Path) -> None:
    path = write(tmp_path / "far.txt", ["20 . 0.1 1000", f"20 . 0.2 {10**30}"])
    with pytest.raises(GeneticMapError, match="is not a position, a whole number"):
        read_genetic_map(path, "20")


def test_map_for__refuses_morgans_of_a_piece_with_many_crossovers(tmp_path: Path) -> None:
    path = write(tmp_path / "piece.txt", lines_of("plink", [(151_330, 0.00108), (1_099_666, 0.04965)]))
    with pytest.raises(GeneticMapError, match="are these Morgans"):
        map_for(panel_at(200_000, 1_000_000), path)


@pytest.mark.parametrize("layout", ["plink", "shapeit", "impute2"])
def test_map_for__refuses_morgans(tmp_path: Path, layout: str) -> None:
    rows = [(1_000_000, 0.0), (2_000_000, 0.011), (4_000_000, 0.039)]
    path = write(tmp_path / "morgans.txt", lines_of(layout, rows))
    panel = panel_at(1_500_000, 3_000_000)
    with pytest.raises(GeneticMapError, match=r"0\.039 cM in 3 Mb of 20, 0\.013 per Mb: are these Morgans"):
        map_for(panel, path)
    in_cm = write(tmp_path / "cm.txt", lines_of(layout, [(p, 100 * m) for p, m in rows]))
    assert map_for(panel, in_cm).cm[-1] == pytest.approx(3.9)


@pytest.mark.parametrize("factor", [1e6, 100.0])
def test_map_for__refuses_base_pairs_and_hundredths(tmp_path: Path, factor: float) -> None:
    rows = [(1_000_000, 1.0), (2_000_000, 2.5), (8_000_000, 9.0)]
    path = write(tmp_path / "wrong.txt", lines_of("plink", [(p, factor * cm) for p, cm in rows]))
    with pytest.raises(GeneticMapError, match="are these base pairs, or centimorgans times 100"):
        map_for(panel_at(1_500_000, 3_000_000), path)


def test_map_for__species_with_many_crossovers_are_no_base_pairs(tmp_path: Path) -> None:
    bee = write(tmp_path / "bee.txt", lines_of("plink", [(1_000_000, 0.0), (28_000_000, 800.0)]))
    yeast = write(tmp_path / "yeast.txt", lines_of("plink", [(1_000, 0.0), (1_500_000, 550.0)]))
    assert map_for(panel_at(1_500_000, 20_000_000), bee).cm[-1] == pytest.approx(800)
    assert map_for(panel_at(10_000, 1_400_000), yeast).cm[-1] == pytest.approx(550)


def test_map_for__a_cold_stretch_of_less_than_a_megabase_is_no_morgans(tmp_path: Path) -> None:
    path = write(tmp_path / "cold.txt", lines_of("plink", [(1_000_000, 1.0), (1_900_000, 1.001)]))
    assert map_for(panel_at(1_500_000), path).cm[-1] == pytest.approx(1.001)


def test_require_contigs__names_the_first_that_is_not_there(tmp_path: Path) -> None:
    rows = [*lines_of("plink", ROWS, "20"), *lines_of("plink", ROWS, "23")]
    path = write(tmp_path / "map.txt", rows)
    require_contigs(path, ["chr20", "X"])
    with pytest.raises(GeneticMapError, match="the map is for 20, 23, not for chr21"):
        require_contigs(path, ["20", "chr21", "22"])
    require_contigs(write(tmp_path / "any.txt", lines_of("impute2", ROWS)), ["20", "21"])


def test_read_genetic_map__a_file_that_was_changed_is_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "m.txt", ["20 . 0.1 1000", "20 . 0.2 2000"])
    before = path.stat()
    assert read_genetic_map(path, "20").cm.tolist() == [0.1, 0.2]
    write(path, ["20 . 0.1 1000", "20 . 0.3 2000"])
    assert path.stat().st_size == before.st_size
    assert read_genetic_map(path, "20").cm.tolist() == [0.1, 0.3]


def test_read_genetic_map__a_line_of_another_contig_that_is_unusable_does_not_matter(tmp_path: Path) -> None:
    path = write(tmp_path / "m.txt", ["20 . 0.1 1000", "21 . nan 2000", "20 . 0.2 2000", "21 . 1 x"])
    assert read_genetic_map(path, "20").positions.tolist() == [1000, 2000]
    with pytest.raises(GeneticMapError, match=r"line 2.*'nan' is not a number of cM"):
        read_genetic_map(path, "21")


def test_read_genetic_map__real_chr20(data_dir: Path) -> None:
    genetic_map = read_genetic_map(data_dir / "chr20.b37.gmap.gz", "chr20")
    assert len(genetic_map.positions) == 82_962
    assert (int(genetic_map.positions[0]), float(genetic_map.cm[0])) == (61_795, 0.0)
    assert (int(genetic_map.positions[-1]), float(genetic_map.cm[-1])) == (62_949_445, 108.266934)
    with pytest.raises(GeneticMapError, match="the map is for 20, not for 21"):
        read_genetic_map(data_dir / "chr20.b37.gmap.gz", "21")
