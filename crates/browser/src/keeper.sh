# Keeps chromedriver, all that it starts and their directory for as long as standard input is open.
#
# Whoever holds the other end of that pipe need not do anything to end them: the end closes with its
# process, even if that is killed. Wants DRIVER (a program) and DIR (a directory, removed at the end).
# Chromium writes more than its profile: HOME and TMPDIR catch the rest.

set -m # the job below leads a process group of its own
HOME=$DIR TMPDIR=$DIR "$DRIVER" --port=0 </dev/null 2>"$DIR/chromedriver.log" &
group=$!
disown
exec >&- # only chromedriver writes there: the reader sees its end

# Notes who has the directory in its command line, by process id and by when it began, for ids come again: chromium's crash
# handlers leave the group, and end by themselves when chromium has. A process that ends is without a command line for a
# moment before it is gone.
ours=()
note() {
    local file pid stat
    for file in $(grep -laFf <(echo "$DIR") /proc/[0-9]*/cmdline 2>/dev/null); do
        pid=${file//[!0-9]/}
        { read -r stat <"/proc/$pid/stat"; } 2>/dev/null || continue
        set -- ${stat##*) } # state, parent, group, ..., at 20 when it began
        ours[pid]=${20}
    done
}

# Whether a process of the group still runs, or one that was noted.
running() {
    local file pid stat
    note
    for file in /proc/[0-9]*/stat; do
        { read -r stat <"$file"; } 2>/dev/null || continue
        pid=${file//[!0-9]/}
        set -- ${stat##*) }
        [ "$1" != Z ] || continue
        [ "$3" != "$group" ] || return 0
        [ "${ours[pid]-}" != "${20}" ] || return 0
    done
    return 1
}

while read -r _; do :; done
note
kill -KILL -- "-$group" 2>/dev/null
deadline=$((SECONDS + 30))
while running; do
    if [ "$SECONDS" -ge "$deadline" ]; then
        echo "browser-tests: chromium still runs, 30 s after it was killed (process group $group)" >&2
        break
    fi
    sleep 0.01
done
rm -rf "$DIR"
