"""attest.convert's main as tests call it: in this process, and all that it says."""
import contextlib
import io

from attest import convert


def converted(*words):
    """Exit status, standard output and error."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            convert.main([str(word) for word in words])
            status = 0
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
            print(end.code if isinstance(end.code, str) else "", file=err)
    return status, out.getvalue(), err.getvalue()
