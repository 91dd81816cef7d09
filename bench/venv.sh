# To be sourced in the top folder: $python is an interpreter that has the peers' packages. PYTHON may name one already.
python=${PYTHON:-bench/venv/bin/python}
if [ ! -e "$python" ]; then
    python3 -m venv bench/venv
    bench/venv/bin/python -m pip install -q -r bench/peers/requirements.txt
fi
