"""Executes a notebook and fails if one of its cells does: execute.py NOTEBOOK [EXECUTED], which is written with outputs and plots."""
import pathlib
import sys

import nbclient
import nbformat

path = pathlib.Path(sys.argv[1])
notebook = nbformat.read(path, as_version=4)
client = nbclient.NotebookClient(notebook, timeout=3600, resources={"metadata": {"path": str(path.parent)}})
try:
    client.execute()
finally:
    if len(sys.argv) > 2:
        nbformat.write(notebook, sys.argv[2])
for cell in notebook.cells:
    for output in cell.get("outputs", []):
        if output.output_type == "stream" and output.name == "stdout":
            print(output.text, end="")
