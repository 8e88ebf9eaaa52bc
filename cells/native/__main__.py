"""`python -m cells.native`: build the compiled kernels now, rather than at their first use."""

from cells.native.build import library

if __name__ == "__main__":
    found = library()  # if there are none, it has said why
    if found.loaded:
        print("native kernels: ready")
