# What `.ci/break-rules` and `.ci/break-loom` share. Needs bash, coreutils and Rust.

fail() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

table=.ci/mutants.txt
export CARGO_INCREMENTAL=0 RUST_BACKTRACE=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The lines of the table without comments.
pairs() { grep -v -e '^#' -e '^$' "$table"; }

# Table and source name the same mutants. A call of the macro may take several lines.
check_table() {
    local ill differing
    ill=$(pairs | grep -v -x '[a-z0-9_]*: .*' || true)
    [ -z "$ill" ] || fail "$table: a line is \`test: mutant\`: $ill"
    ill=$(pairs | sort | uniq -d)
    [ -z "$ill" ] || fail "$table names this twice: $ill"
    find src -name '*.rs' ! -path src/base/mutant.rs -exec cat {} + | tr '\n' ' ' |
        grep -o 'mutant!( *"[^"]*"' | sed 's/^[^"]*"//; s/"$//' | sort -u >"$work/out"
    differing=$(pairs | sed 's/^[^:]*: //' | sort -u | comm -13 - "$work/out")
    [ -z "$differing" ] || fail "no test in $table must notice: $differing"
    differing=$(pairs | sed 's/^[^:]*: //' | sort -u | comm -23 - "$work/out")
    [ -z "$differing" ] || fail "$table names what is not in src: $differing"
}

# build CARGO-TEST-ARGUMENT...: builds the tests with the mutants in them, and learns where each test is.
declare -A binary_of path_of
build() {
    local binary binaries line path
    # A wrapper, not `RUSTFLAGS`: the dependencies have no mutants, and are not built once more.
    RUSTC_WORKSPACE_WRAPPER=$PWD/.ci/rustc-with-mutants cargo test --no-run "$@" 2>&1 | tee "$work/out"
    mapfile -t binaries < <(sed -n 's/^ *Executable .* (\(.*\))$/\1/p' "$work/out")
    [ ${#binaries[@]} -gt 0 ] || fail 'cargo names no executable'
    for binary in "${binaries[@]}"; do
        while IFS= read -r line; do
            [[ $line == *': test' ]] || continue
            path=${line%: test}
            binary_of[${path##*::}]=$binary
            path_of[${path##*::}]=$path
        done < <("$binary" --list)
    done
}

# ending TEST MUTANT LOG: how the test ends with this mutant.
ending() {
    local test=$1 status=0
    MAINTENANCE_MUTANT=$2 timeout "$longest" "${binary_of[$test]}" --exact "${path_of[$test]}" >"$3" 2>&1 || status=$?
    case $status-$(<"$3") in
    124-*) echo hung ;;
    0-*'test result: ok. 1 passed'*) echo passed ;;
    *"test ${path_of[$test]} ... FAILED"*) echo failed ;;
    # By a signal: a panic while another one unwinds aborts the process.
    *) if [ $status -gt 128 ]; then echo died; else echo "unclear, status $status"; fi ;;
    esac
}

# check_pairs REGEX: the tests of the matching lines pass as they are, and fail with their mutants.
check_pairs() {
    local lines line test how at noticed=0 unnoticed=()
    mapfile -t lines < <(pairs | grep -e "$1")
    [ ${#lines[@]} -gt 0 ] || fail "$table has no line that matches $1"
    for line in "${lines[@]}"; do
        [ -n "${path_of[${line%%: *}]:-}" ] || fail "there is no test ${line%%: *}"
    done
    while IFS= read -r test; do
        how=$(ending "$test" '' "$work/log")
        [ "$how" = passed ] || { cat "$work/log" >&2; fail "without a mutant: $test $how"; }
    done < <(printf '%s\n' "${lines[@]%%: *}" | sort -u)

    # Some at once: one that hangs only waits.
    for at in "${!lines[@]}"; do
        while [ "$(jobs -rp | wc -l)" -ge "$at_once" ]; do wait -n; done
        line=${lines[at]}
        ending "${line%%: *}" "${line#*: }" "$work/$at.log" >"$work/$at.ending" &
    done
    wait
    for at in "${!lines[@]}"; do
        how=$(<"$work/$at.ending")
        printf '%-7s %s\n' "$how" "${lines[at]}"
        case $how in
        hung | failed | died) noticed=$((noticed + 1)) ;;
        passed) unnoticed+=("${lines[at]}") ;;
        *) cat "$work/$at.log" >&2; fail "neither passed nor failed: ${lines[at]}" ;;
        esac
    done
    echo
    [ ${#unnoticed[@]} -eq 0 ] || fail "not noticed:$(printf '\n    %s' "${unnoticed[@]}")"
    echo "all $noticed were noticed; with the build this took $SECONDS s"
}
