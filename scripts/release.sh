#!/usr/bin/env bash
# Builds sdist and wheel, installs each into an empty environment and tries it, writes an SBOM, checks the changelog.
# Publishes nothing: build/release holds what a release would upload.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
out=$PWD/build/release
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)

fail() { echo "release: $1" >&2; exit 1; }

grep -qE "^## \[$version\] - [0-9]{4}-[0-9]{2}-[0-9]{2}$" CHANGELOG.md || {
    [ "${DRAFT:-}" = 1 ] || fail "CHANGELOG.md has no section '## [$version] - DATE' (DRAFT=1 leaves this check out)"
}
rm -rf "$out" && mkdir -p "$out"
.venv/bin/python -m build --outdir "$out" . >"$out/build.log" 2>&1 || { tail -20 "$out/build.log" >&2; fail "the build failed"; }

try_installed() { # environment, package file
    "$python" -m venv "$1"
    "$1/bin/python" -m pip --disable-pip-version-check install --quiet "$2"
    (
        cd "$1"
        [[ $(bin/samplejoin version) == *"$version"* ]] || fail "$2 says another version: $(bin/samplejoin version)"
        bin/samplejoin init tried >/dev/null
        bin/samplejoin check tried/job.yaml --records tried/records.jsonl --no-broker >check.log || { cat check.log >&2; fail "$2 does not work"; }
        SAMPLEJOIN_JOB=tried/job.yaml bin/faust -A samplejoin agents >agents.log 2>&1 || { cat agents.log >&2; fail "$2: faust does not find the app"; }
    )
    echo "$(basename "$2"): installed into an empty environment, tried"
}

try_installed "$out/wheel" "$out"/samplejoin-"$version"-py3-none-any.whl
try_installed "$out/sdist" "$out"/samplejoin-"$version".tar.gz
.venv/bin/cyclonedx-py environment "$out/wheel/bin/python" --output-file "$out/sbom.json" 2>"$out/sbom.log" || { cat "$out/sbom.log" >&2; fail "no SBOM"; }
size_mb=$(du -sm --exclude=__pycache__ --exclude=pip "$out/wheel/lib" | cut -f1)
[ "$size_mb" -lt 100 ] || fail "an installation takes $size_mb MB: 100 MB is the bound of the base install"
rm -rf "$out/wheel" "$out/sdist"
echo "build/release: $(cd "$out" && ls ./*.whl ./*.tar.gz sbom.json | tr '\n' ' ')(installed: $size_mb MB)"
