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

# Whether a process of the group still runs, or another one that has the directory in its command line:
# chromium's crash handlers leave the group, and end by themselves when chromium has.
running() {
    local stat
    for stat in /proc/[0-9]*/stat; do
        { read -r stat <"$stat"; } 2>/dev/null || continue
        set -- ${stat##*) } # state, parent, group
        [ "$3" != "$group" ] || [ "$1" = Z ] || return 0
    done
    grep -qaFf <(echo "$DIR") /proc/[0-9]*/cmdline 2>/dev/null
}

while read -r _; do :; done
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
