# shellcheck shell=bash disable=SC1091
# SPDX-License-Identifier: MIT
#
# A private view of the Debian archive, for tools/fetch-*: packages of other suites are resolved,
# downloaded and unpacked without touching what is installed or configured on the machine. The
# mirror, its proxy and the signature key come from apt's own configuration, so no host name stands
# in this tree; signatures are always checked. MEDLEY_MIRROR=URI names another mirror of the Debian
# archive.
#
# Sourced by bash scripts, which call, in this order:
#   cache_init TOOL        set $top, $build and $work, take the lock of TOOL
#   archive_open SUITE...  index those suites
#   archive_get ARG...     download packages and all they depend on (ARG as for apt-get install) ...
#   archive_get_alone PKG  ... or one package alone; $debs is then the list of .deb files
#   archive_close          drop index and packages (a failed run leaves them for the next one)

die() {
	echo "$tool: $*" >&2
	exit 1
}

cache_init() {
	tool=$1
	top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
	build=${MEDLEY_CACHE:-$top/build}
	work=$build/cache/$tool
	mkdir -p "$build/bin" "$work" || die "cannot write to $build"
	exec 9>"$work/lock"
	flock -w 900 9 || die "another $tool has been running for 15 minutes"
}

# Where the Debian archive may be, as apt has it configured: lines "URI|source entry", the likeliest
# first. Before a first "apt-get update" apt does not know an archive's origin, and others name
# their suites alike: hence all that fit are listed, to be tried in turn. A security archive has no
# other suites, a cdrom neither.
archive_mirrors() {
	local codename
	codename=$(. /etc/os-release 2>/dev/null && echo "${VERSION_CODENAME:-sid}")
	if [ -n "${MEDLEY_MIRROR:-}" ]; then
		echo "$MEDLEY_MIRROR|"
		return
	fi
	# shellcheck disable=SC2016 # apt's fields, not the shell's
	apt-get indextargets --no-release-info \
		--format '$(RELEASE)|$(COMPONENT)|$(ORIGIN)|$(LABEL)|$(REPO_URI)|$(SOURCESENTRY)' \
		'Created-By: Packages' 2>/dev/null |
		awk -F'|' -v codename="$codename" '
			$2 != "main" || $5 ~ /^cdrom:/ || $4 ~ /Security/ { next }
			$1 != codename && $1 !~ /^(stable|oldstable|testing|unstable|sid)$/ { next }
			seen[$5]++ { next }
			{ print ($3 == "Debian" || $5 ~ /\/debian\/?$/ ? 0 : 1) "|" $5 "|" $6 }' |
		sort -s -t'|' -k1,1 | cut -d'|' -f2-
}

# The key files for a mirror, comma-separated: the one that its source entry (FILE:LINE, or
# FILE.sources:STANZA) names, and that of the debian-archive-keyring package. Neither there:
# nothing, which leaves it to the keys that apt trusts for all. A suite is signed by the keys of the
# release before it too, so an older machine can check it.
archive_keys() {
	local file=${1%:*} number=${1##*:} named='' key keys=''
	case $file in
	*.sources) named=$(awk -v RS= -v n="$number" 'NR == n' "$file" 2>/dev/null |
			sed -n 's/^Signed-By:[[:space:]]*//Ip') ;;
	/*) named=$(sed -n "${number}p" "$file" 2>/dev/null |
			sed -n 's/.*signed-by=\([^] ]*\).*/\1/Ip') ;;
	esac
	for key in ${named//,/ } /usr/share/keyrings/debian-archive-keyring.gpg; do
		case ,$keys, in
		*,"$key",*) continue ;;
		esac
		case $key in
		/*) [ ! -r "$key" ] || keys=$keys${keys:+,}$key ;;
		esac
	done
	echo "$keys"
}

# On top of the machine's own configuration (proxies, credentials, time-outs): directories of our
# own, an empty list of installed packages, no pins, and none of the hooks that clean the machine's
# own cache. The sandbox user would not reach a tree below a private home directory.
archive_config() {
	cat <<-EOF
	Dir::State "$work";
	Dir::State::lists "$work/lists";
	Dir::State::status "$work/status";
	Dir::Cache "$work";
	Dir::Cache::archives "$work/archives";
	Dir::Cache::pkgcache "";
	Dir::Cache::srcpkgcache "";
	Dir::Etc::sourcelist "$work/sources.list";
	Dir::Etc::sourceparts "/dev/null";
	Dir::Etc::preferences "/dev/null";
	Dir::Etc::preferencesparts "/dev/null";
	Dir::Log "$work";
	#clear APT::Update::Pre-Invoke;
	#clear APT::Update::Post-Invoke;
	#clear APT::Update::Post-Invoke-Success;
	#clear DPkg::Pre-Install-Pkgs;
	#clear DPkg::Post-Invoke;
	#clear Acquire::IndexTargets;
	Acquire::IndexTargets::deb::Packages::MetaKey "\$(COMPONENT)/binary-\$(ARCHITECTURE)/Packages";
	Acquire::IndexTargets::deb::Packages::flatMetaKey "Packages";
	Acquire::IndexTargets::deb::Packages::ShortDescription "Packages";
	APT::Architecture "amd64";
	APT::Architectures { "amd64"; };
	APT::Install-Recommends "false";
	APT::Sandbox::User "root";
	Acquire::Languages "none";
	Acquire::Retries "3";
	EOF
}

archive_open() {
	local mirror entry keys suite found=''
	mkdir -p "$work/lists/partial" "$work/archives/partial"
	: >"$work/status"
	archive_config >"$work/apt.conf"
	while IFS='|' read -r mirror entry; do
		keys=$(archive_keys "$entry")
		for suite; do
			echo "deb [arch=amd64${keys:+ signed-by=$keys}] $mirror $suite main"
		done >"$work/sources.list"
		found=yes
		! archive_apt update || return 0
	done < <(archive_mirrors)
	[ -n "$found" ] ||
		die "apt names no mirror of Debian's main archive; set MEDLEY_MIRROR=URI"
	archive_fail "cannot index $*"
}

archive_apt() {
	apt-get -q -c "$work/apt.conf" "$@" </dev/null >"$work/apt.log" 2>&1 &&
		! grep -q '^[EW]: ' "$work/apt.log"
}

# One line for the user: apt's first complaint; the whole of it stays in the log.
archive_fail() {
	die "$1: $(grep -m1 '^[EW]: ' "$work/apt.log" | cut -c1-250) (all of it: $work/apt.log)"
}

# archive_version PKG [apt options]: the version that would be installed
archive_version() {
	apt-cache -c "$work/apt.conf" "${@:2}" policy "$1" | awk '$1 == "Candidate:" { print $2 }'
}

# archive_depends PKG VERSION: the names of the packages it depends on
archive_depends() {
	apt-cache -c "$work/apt.conf" show "$1=$2" |
		sed -n 's/^Depends: //p' | tr ',' '\n' | awk '{ print $1 }'
}

archive_get() {
	archive_apt install -y --download-only "$@" || archive_fail "cannot download $*"
	debs=("$work"/archives/*.deb)
	[ -e "${debs[0]}" ] || archive_fail "no package came for $*"
}

archive_get_alone() {
	(cd "$work/archives" && archive_apt download "$1") || archive_fail "cannot download $1"
	debs=("$work/archives/${1%%=*}"_*.deb)
	[ -e "${debs[0]}" ] || archive_fail "no package came for $1"
}

archive_close() {
	rm -rf "$work/lists" "$work/archives"
}
