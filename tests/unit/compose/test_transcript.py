"""What a process printed, line by line, while its log grows."""

from compose.transcript import Transcript


def test_lines_as_they_are_completed(tmp_path):
    log = tmp_path / "x.log"
    transcript = Transcript(log)
    assert transcript.lines() == []
    with log.open("wb", buffering=0) as file:
        file.write(b"one\ntw")
        assert transcript.lines() == ["one"]
        file.write(b"o\r\n\n####")
        assert transcript.lines() == ["two", ""]
        assert transcript.lines() == []
        file.write(b"#")
        assert transcript.lines(all_of_it=True) == ["#####"]
        assert transcript.lines(all_of_it=True) == []


def test_a_character_that_comes_in_two_parts(tmp_path):
    log = tmp_path / "x.log"
    log.write_bytes("ä".encode()[:1])
    transcript = Transcript(log)
    assert transcript.lines() == []
    log.write_bytes("ä\n".encode())
    assert transcript.lines() == ["ä"]
