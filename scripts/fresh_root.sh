#!/bin/sh
# The fresh machine: what the README and docker/ promise, carried out in bare Debian roots that hold nothing else.
#   image   the instructions of docker/desktop.Dockerfile, one by one, and the image's job
#   readme  "Try it" of the README as an ordinary user, after root installed the packages which it names, and
#           `lineside run` on the pictures; then the same as root with nothing but git and make there
#   gpu     the instructions of docker/gpu.Dockerfile with a bare Debian in the place of NVIDIA's image: every step but
#           TensorRT itself; the image's job then has to refuse in a sentence, and to run on the processor when told so
#   export  the other of the two commands, with torch (several GB): a small model is trained, exported and run
# usage: sudo sh scripts/fresh_root.sh [SUITE [JOB ...]]   default: bookworm image readme
# See debian_root.sh for the environment variables. No container engine is needed.
set -eu
cd "$(dirname "$0")/.."
. scripts/debian_root.sh
roots_begin "$@"
suite=${1:-bookworm}
[ $# = 0 ] || shift
jobs=${*:-image readme}
architecture=$(dpkg --print-architecture)

began() { # WHAT
    what=$1
    start=$(date +%s)
    echo "== $what"
}

ended() { # ROOT: says how long it took and what is installed there
    for shown in ${SHOW:-}; do umount "$1$shown"; done
    echo "== $what: $(seconds_since "$start"); $(in_root "$1" dpkg-query -f '.\n' -W | wc -l) Debian packages," \
        "$(du -xsm "$1" | cut -f1) MB in all"
    for shown in ${SHOW:-}; do mount --bind -o ro "$shown" "$1$shown"; done
}

words() { # turns ["a", "b"] into a b
    echo "$1" | tr -d '[]",'
}

check_demo() { # FOLDER OF THE RESULTS: overlays of all pictures, a video, workbooks
    for kind in bearing tube; do
        pictures=$(git ls-files "demo/pictures/$kind" | wc -l)
        overlays=$(find "$1/$kind" -name '*.jpg' | wc -l)
        [ "$overlays" = "$pictures" ] || refuse "$pictures pictures of $kind gave $overlays overlays in $1"
    done
    for name in bearing tube line; do
        [ -n "$(find "$1/$name" -name '*.xlsx' -size +2k)" ] || refuse "$1/$name has no workbook"
    done
    [ -n "$(find "$1/line" -name '*.mp4' -size +20k)" ] || refuse "$1/line has no video"
    echo "   outputs checked: $(find "$1" -type f | wc -l) files, $(du -sm "$1" | cut -f1) MB"
}

carry_out() { # DOCKERFILE: carries it out; every FROM begins a new root. Leaves root, user, folder, entry, command
    file=$1
    user=root folder=/ stage=stage
    label=$(basename "$file" .Dockerfile)
    git clone --quiet . "$roots/context"
    while read -r instruction rest; do
        case $instruction in
        '' | '#'*) continue ;;
        FROM)
            case $rest in *" AS "*) stage=${rest##* } ;; *) stage=final ;; esac
            root_forget "$label-$stage"
            root_make "$label-$stage" "$suite" "$architecture"
            ;;
        COPY)
            from=$roots/context
            case $rest in --from=*) from=${rest%% *} from=$roots/$label-${from#--from=} rest=${rest#* } ;; esac
            mkdir -p "$(dirname "$root${rest#* }")"
            cp -aT "$from/${rest% *}" "$root${rest#* }"
            ;;
        RUN)
            began "$stage: $rest"
            in_root "$root" sh -c "$rest" </dev/null
            ended "$root"
            ;;
        USER) user=$rest ;;
        WORKDIR) folder=$rest ;;
        ENTRYPOINT) entry=$(words "$rest") ;;
        CMD) command=$(words "$rest") ;;
        *) refuse "$instruction: this script does not know that instruction of the Dockerfile" ;;
        esac
    done <"$file"
    rm -rf "$roots/context"
    [ "$user" != root ] || refuse "the image runs as root"
}

image() {
    began "docker/desktop.Dockerfile on $suite"
    carry_out docker/desktop.Dockerfile

    for tool in cc c++ g++ make pip; do
        ! in_root "$root" sh -c "command -v $tool" || refuse "$tool is left in the image"
    done
    began "the image's job as $user in $folder: $entry $command"
    as_user "$user" "cd $folder && $entry $command"
    check_demo "$(echo "$root$folder"/runs/*)"
    began "docker run --user \$(id -u) with a folder of one's own"
    mkdir "$root/work"
    cp -r demo/bearing.bundle demo/pictures "$root/work"
    chown -R 4321:4321 "$root/work"
    in_root "$root" setpriv --reuid 4321 --regid 4321 --clear-groups env HOME=/ \
        sh -euc "cd /work && $entry run bearing.bundle pictures/bearing --out out" </dev/null
    [ "$(find "$root/work/out/images" -name '*.jpg' | wc -l)" = "$(git ls-files demo/pictures/bearing | wc -l)" ] || refuse "overlays are missing"
    ended "$root"
}

gpu() {
    began "docker/gpu.Dockerfile on $suite, without TensorRT"
    carry_out docker/gpu.Dockerfile
    began "the image's job as $user in $folder: $entry $command"
    code=0
    said=$(as_user "$user" "cd $folder && $entry $command" 2>&1) || code=$?
    echo "$said"
    [ "$code" = 2 ] || refuse "without a GPU the job ended with $code, not with 2"
    echo "$said" | grep -q "^error: .*driver" || refuse "it does not say that there is no driver"
    ! echo "$said" | grep -q Traceback || refuse "it ended in a traceback"
    as_user "$user" "cd $folder && $entry run demo/bearing.bundle demo/pictures/bearing --out out | tail -3"
    ended "$root"
}

as_user() { # USER COMMAND LINE
    in_root "$root" setpriv --reuid "$1" --regid "$1" --init-groups env HOME="/home/$1" sh -euc "$2" </dev/null
}

readme_commands() { # the commands of "Try it", with a place for the repository
    sed -n '/^## Try it/,/^## /p' README.md | sed -n '/^```sh/,/^```/p' | grep -v '^```' | sed 's#<this repository>#/srv/lineside.git#'
}

readme() {
    commands=$(readme_commands)
    packages=$(tr '\n' ' ' <README.md | grep -o '`python3-dev[^`]*`' | head -1 | tr -d '`')
    [ -n "$commands" ] && [ -n "$packages" ] || refuse "the README no longer says which commands or packages it takes"

    began "$suite, as root: apt-get install git $packages"
    bare_root readme-user "git $packages"
    in_root "$root" useradd --create-home user
    ended "$root"
    began "$suite, as an ordinary user: $(echo "$commands" | tr '\n' ';')"
    as_user user "cd; $commands"
    ended "$root"
    check_demo "$(echo "$root"/home/user/lineside/runs/*)"
    began "the same again, then lineside run"
    as_user user "cd ~/lineside && make demo | tail -1 && .venv/bin/lineside run demo/bearing.bundle demo/pictures/bearing --out runs/again"
    ended "$root"

    began "$suite, as root, only git and make there: $(echo "$commands" | tr '\n' ';')"
    bare_root readme-root "git make"
    in_root "$root" sh -euc "cd; $commands" </dev/null
    ended "$root"
    check_demo "$(echo "$root"/root/lineside/runs/*)"
}

bare_root() { # NAME PACKAGES: a bare root with these packages, and the repository at /srv/lineside.git
    root_forget "$1"
    root_make "$1" "$suite" "$architecture"
    in_root "$root" apt-get update -qq
    # shellcheck disable=SC2086
    in_root "$root" apt-get install -y -qq --no-install-recommends $2 </dev/null >/dev/null
    git clone --quiet --bare . "$root/srv/lineside.git"
    # The repository lies there under another owner than the one who clones it.
    in_root "$root" git config --system safe.directory '*'
}

export_job() {
    began "$suite: torch, a trained model, lineside export, lineside run"
    bare_root export "git python3-dev python3-venv make g++"
    in_root "$root" sh -euc 'cd; git clone -q /srv/lineside.git lineside; cd lineside; python3 -m venv .venv
        .venv/bin/pip install -q ".[cpu,export,station]"; cd ..; PATH=$PWD/lineside/.venv/bin:$PATH
        lineside synth tube set --train 40 --val 8 --size 160
        lineside train yolo11n-seg.yaml set/data.yaml --imgsz 160 --epochs 10 --batch 4 --out run
        lineside export run/best.pt -o parts.bundle
        lineside run parts.bundle set/images/val --out out
        ls out' </dev/null
    ended "$root"
}

for job in $jobs; do
    case $job in
    image | readme | gpu) $job ;;
    export) export_job ;;
    *) refuse "no job $job: image, readme, gpu, export" ;;
    esac
done
echo "== all jobs passed: $jobs"
