# SPDX-License-Identifier: MIT
"""The charts of plot-bench. Each takes a checked result and saves files; all are 9 inches wide and have no text below 9 points, so
that they can be read 900 pixels wide. What is aimed at is a dashed line, or the middle of a scale of colours."""
import math

WINDOWS = {"10ms": "10 ms", "100ms": "100 ms", "500ms": "500 ms", "1s": "1 s"}
LATENCIES = [("alone", "alone"), ("endless", "beside an\nendless kernel"), ("loop20ms", "beside kernels\nof 20 ms")]
HOST_LATENCIES = [("host_alone", "host thread, alone"), ("host_endless", "host thread, beside\nan endless one")]
LOADS = {"loop 1000": "kernels of 1 ms", "loop 20000": "kernels of 20 ms", "random 100 1000 20000 500000": "0.1, 1, 20, 500 ms mixed"}
AIMS = {"1s": 1, "100ms": 5}  # of fair, percent of the GPU
GDEV = 0.07  # Kato et al., Gdev (USENIX ATC 2012)
NOT_BY_WEIGHT = ("band-gpuvm", "equal-share", "round-robin", "best-effort")
WIDTH = 9

# Told apart also by those who see few colours; relatives have one hue.
SHADES = ["#c6dbef", "#7fb8dc", "#2f7ebc", "#08306b"]
DARK, LIGHT, AIM = "#08306b", "#7fb8dc", "#c1121f"
COARSE = {"fair, with preemption": "#9a9a9a", "fair": "#2f7ebc", "credit": "#d55e00", "credit-gdev": "#f4a582", "band": "#00724f",
          "band-gpuvm": "#6fcbab"}


def load_pyplot():
    """When there is something to draw: it takes a second, and a table needs none of it."""
    import matplotlib
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "medley", "svg.fonttype": "none",  # small, the same each time
                                "font.size": 10, "axes.titlesize": 10.5, "axes.labelsize": 10, "xtick.labelsize": 9.5,
                                "ytick.labelsize": 9.5, "legend.fontsize": 9.5, "legend.framealpha": 0.85, "legend.edgecolor": "none",
                                "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "grid.linewidth": 0.5,
                                "grid.alpha": 0.6, "figure.facecolor": "white"})
    from matplotlib import pyplot
    return pyplot


def unique(values):
    return list(dict.fromkeys(values))


def lasting(row):
    """The largest difference over the whole time."""
    return max(abs(guest["share"] - guest["entitlement"]) for guest in row["guests"])


def compared(result):
    """With preemption, the scenarios in which all policies were measured."""
    rows = [row for row in result["rows"] if not row["nonpreemptive"] and not row.get("synchronous")]
    count = {scenario: len({r["policy"] for r in rows if r["scenario"] == scenario}) for scenario in unique(r["scenario"] for r in rows)}
    return [row for row in rows if count[row["scenario"]] == max(count.values())]


def idle_key(result):
    return f"idle{result['idle_vgpus']}_cost"


def short(value):
    """Two digits that count, or the whole number."""
    return f"{value:.0f}" if abs(value) >= 9.95 else f"{value:.1f}" if abs(value) >= 0.095 else f"{value:.2f}"


def figure_of(pyplot, height, rows=1, columns=1, **more):
    return pyplot.subplots(rows, columns, figsize=(WIDTH, height), layout="constrained", **more)


def save(pyplot, figure, path):
    figure.savefig(path, dpi=100, metadata={"Date": None} if path.suffix == ".svg" else None)
    pyplot.close(figure)


def aim_line(axes, value, text, ls="--"):
    axes.axhline(value, color=AIM, lw=1.3, ls=ls, zorder=3, label=text)


def note(axes, x, y, text, **more):
    """A value above its bar; readable also where a line goes through it."""
    axes.annotate(text, (x, y), (0, 2.5), textcoords="offset points", va="bottom", zorder=4,
                  bbox={"fc": "white", "ec": "none", "pad": 0.6, "alpha": 0.8}, **{"ha": "center", "fontsize": 9.5, **more})


def bars(axes, groups, series, value, colours, text=short, gap=0.82, **more):
    """Groups of bars along x, one bar a series in each, its value above it; None: not measured."""
    width = gap / len(series)
    for number, name in enumerate(series):
        heights = [value(group, name) for group in groups]
        places = [x + (number - (len(series) - 1) / 2) * width for x in range(len(groups))]
        axes.bar(places, [height or 0 for height in heights], 0.94 * width, label=name, color=colours[number])
        for x, height in zip(places, heights):
            if height is not None:
                note(axes, x, max(height, axes.get_ylim()[0]), text(height), **more)
    axes.set_xticks(range(len(groups)), groups)
    axes.grid(axis="y")


def above(axes, columns, **more):
    """The legend where no bars are."""
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns, borderaxespad=0.3, handlelength=1.4, **more)


# ---- fairness ----

def scenario_panel(axes, rows, policies, scenarios, window, last):
    from matplotlib.colors import TwoSlopeNorm
    from matplotlib import colormaps
    aim, colours = AIMS[window], colormaps["RdBu_r"]
    norm = TwoSlopeNorm(0, -math.log10(30), math.log10(30))
    cells = {(row["policy"], row["scenario"]): 100 * row["windows"][window]["error_max"] for row in rows
             if row["windows"][window]["windows"]}
    for y, policy in enumerate(policies):
        for x, scenario in enumerate(scenarios):
            error = cells.get((policy, scenario))
            if error is None:
                continue
            place = norm(math.log10(min(max(error / aim, 1 / 30), 30)))
            place = 0.08 + 0.84 * place  # not so dark that nothing can be read on it
            axes.fill([x, x + 1, x + 1, x], [y, y, y + 1, y + 1], color=colours(place), ec="white", lw=1.2)
            axes.text(x + 0.5, y + 0.53, short(error), ha="center", va="center", fontsize=9.5,
                      color="white" if abs(place - 0.5) > 0.34 else "black")
    axes.set(xlim=(0, len(scenarios)), ylim=(len(policies), 0))
    axes.set_yticks([y + 0.5 for y in range(len(policies))], [p + ("*" if p in NOT_BY_WEIGHT else "") for p in policies])
    axes.set_xticks([x + 0.5 for x in range(len(scenarios))], scenarios if last else [""] * len(scenarios), rotation=25, ha="right",
                    rotation_mode="anchor")
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title(f"in windows of {WINDOWS[window]}; blue: within the aim of {aim} %", loc="left")


def scenarios_chart(pyplot, rows, path):
    policies, scenarios = unique(row["policy"] for row in rows), unique(row["scenario"] for row in rows)
    figure, axes = figure_of(pyplot, 1.7 + 0.5 * len(policies), 2)
    scenario_panel(axes[0], rows, policies, scenarios, "1s", False)
    scenario_panel(axes[1], rows, policies, scenarios, "100ms", True)
    figure.suptitle("Largest difference between share and entitlement by weight, % of the GPU", fontsize=11)
    if any(policy in NOT_BY_WEIGHT for policy in policies):
        figure.supxlabel("* looks at no weights: equal parts", fontsize=9.5, x=0.01, ha="left")
    save(pyplot, figure, path)


def windows_chart(pyplot, rows, path):
    def worst(policy, window):
        errors = [row["windows"][window]["error_max"] for row in rows if row["policy"] == policy and row["windows"][window]["windows"]]
        return 100 * max(errors) if errors else None

    policies = unique(row["policy"] for row in rows)
    figure, axes = figure_of(pyplot, 3.8)
    axes.set(yscale="log", ylim=(0.05, 150), ylabel="% of the GPU")
    bars(axes, policies, list(WINDOWS), worst, SHADES, gap=0.88, rotation=90, fontsize=9)
    axes.set_ylim(0.05, 400)
    axes.set_yticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
    axes.minorticks_off()
    axes.set_xticks(range(len(policies)), [p.replace("-", "-\n") + ("*" if p in NOT_BY_WEIGHT else "") for p in policies])
    for window, aim in AIMS.items():
        aim_line(axes, aim, f"aim in {WINDOWS[window]}: {aim} %", ls="--" if aim == 1 else ":")
    handles, labels = axes.get_legend_handles_labels()
    order = sorted(range(len(labels)), key=lambda i: labels[i] not in WINDOWS)
    above(axes, 6, handles=[handles[i] for i in order], columnspacing=1.2,
          labels=[f"in {WINDOWS[labels[i]]}" if labels[i] in WINDOWS else labels[i] for i in order])
    figure.suptitle("Largest difference between share and entitlement, all scenarios", fontsize=11)
    if any(policy in NOT_BY_WEIGHT for policy in policies):
        axes.set_xlabel("* looks at no weights: equal parts", fontsize=9.5, loc="left")
    save(pyplot, figure, path)


def wrap(scenario):
    """A label of short lines: at commas that separate clauses, not those between numbers."""
    return scenario.replace(", one at a time", "").replace(": ", ":\n").replace("3:1, ", "3:1,\n").replace(" and ", " and\n")


def coarse_panel(axes, rows, scenarios, names, window):
    width = 0.86 / len(names)
    for number, name in enumerate(names):
        found = [(x, row) for x, scenario in enumerate(scenarios) for row in rows if row["scenario"] == scenario and row["name"] == name]
        if window:
            mean = [100 * row["windows"][window]["error_mean"] for _, row in found]
            most = [100 * row["windows"][window]["error_max"] for _, row in found]
        else:
            mean = most = [100 * lasting(row) for _, row in found]
        places = [x + (number - (len(names) - 1) / 2) * width for x, _ in found]
        axes.bar(places, mean, 0.92 * width, color=COARSE.get(name, "#444444"), label=name)
        if window:
            axes.vlines(places, mean, most, color="#333333", lw=1)
            axes.plot(places, most, ls="", marker="_", color="#333333", ms=5)
        else:
            for x, value in zip(places, mean):
                note(axes, x, value, f"{value:.0f}", fontsize=9)
    axes.set_xticks(range(len(scenarios)), [wrap(scenario) for scenario in scenarios])
    axes.set_xlim(-0.5, len(scenarios) - 0.5)
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="y")


def nonpreemptive_chart(pyplot, result, path):
    """What does not even out, and how much it varies: with kernels queued ahead, and with guests that wait for each."""
    coarse = {row["scenario"] for row in result["rows"] if row["nonpreemptive"]}
    rows = [{**row, "name": row["policy"] if row["nonpreemptive"] else "fair, with preemption"} for row in result["rows"]
            if row["scenario"] in coarse and (row["nonpreemptive"] or row["policy"] == "fair")]
    names = sorted(unique(row["name"] for row in rows), key=lambda name: list(COARSE).index(name) if name in COARSE else 99)
    kinds = [(title, unique(row["scenario"] for row in rows if bool(row.get("synchronous")) == synchronous))
             for title, synchronous in (("kernels queued ahead", False), ("one kernel at a time, guests wait for its end", True))]
    kinds = [(title, scenarios) for title, scenarios in kinds if scenarios]
    parts = [(None, "over the whole time"), ("500ms", "in 500 ms"), ("100ms", "in 100 ms")]
    figure, grid = figure_of(pyplot, 7.6, len(parts), len(kinds), sharey="row", sharex="col", squeeze=False,
                             gridspec_kw={"width_ratios": [len(scenarios) for _, scenarios in kinds]})
    for axes_row, (window, part) in zip(grid, parts):
        for axes, (title, scenarios) in zip(axes_row, kinds):
            coarse_panel(axes, rows, scenarios, names, window)
            if window is None:
                aim_line(axes, 100 * GDEV, "most that Gdev's authors report: 7 %", ":")
                axes.set_title(title)
        axes_row[0].set_ylabel(f"{part},\n% of the GPU")
        axes_row[0].set_ylim(0, 1.12 * axes_row[0].get_ylim()[1])
    handles, labels = grid[0][0].get_legend_handles_labels()
    handles, labels = handles[1:] + handles[:1], labels[1:] + labels[:1]
    figure.suptitle("Without preemption: difference between share and entitlement (bars: mean, thin lines: largest)\n\n\n", fontsize=11)
    figure.legend(handles, labels, loc="upper center", ncols=4, bbox_to_anchor=(0.5, 0.975), columnspacing=1.4, handlelength=1.4)
    save(pyplot, figure, path)


def fairness(pyplot, result, folder, suffix):
    rows = compared(result)
    if rows:
        scenarios_chart(pyplot, rows, folder / f"bench-fairness-scenarios{suffix}")
        windows_chart(pyplot, [row for row in result["rows"] if not row["nonpreemptive"] and not row.get("synchronous")],
                      folder / f"bench-fairness-windows{suffix}")
    if any(row["nonpreemptive"] for row in result["rows"]):
        nonpreemptive_chart(pyplot, result, folder / f"bench-fairness-nonpreemptive{suffix}")


# ---- the others ----

def number(value):
    """What is not always measured: whether it is there, and can be drawn."""
    return type(value) in (int, float) and math.isfinite(value)


def latency(pyplot, result, folder, suffix):
    quantiles = {"median": "p50", "99th percentile": "p99"}
    # The host's own are there only where a CPU is the GPU.
    host = [(key, title) for key, title in HOST_LATENCIES
            if all(number(result.get(f"{key}_{q}_us")) for q in quantiles.values())]
    titles = {title: key for key, title in LATENCIES + host}
    figure, axes = figure_of(pyplot, 3.4)
    bars(axes, list(titles), list(quantiles), lambda title, q: result[f"{titles[title]}_{quantiles[q]}_us"] / 1e3, [LIGHT, DARK],
         text=lambda value: f"{value:.2f}", gap=0.6)
    aim = 1.3 * result["alone_p99_us"] / 1e3
    aim_line(axes, aim, f"aim for the 99th percentile: 1.3 times that alone ({aim:.2f} ms)")
    axes.set(ylabel="ms", ylim=(0, 1.12 * max(axes.get_ylim()[1], aim)))
    above(axes, 3)
    figure.suptitle("A kernel of 1 ms every 10 ms: from its launch to the guest's knowing of its end", fontsize=11)
    save(pyplot, figure, folder / f"bench-latency{suffix}")


def preempt(pyplot, result, folder, suffix):
    groups = {"the next guest's turn begins": ("next_p50_us", "next_p99_us"), "all threads of the last one stand still": ("p50_us", "p99_us")}
    figure, axes = figure_of(pyplot, 3.4)
    bars(axes, list(groups), ["median", "99th percentile"], lambda group, q: result[groups[group][q != "median"]], [LIGHT, DARK],
         text=lambda value: f"{value:.0f}", gap=0.5)
    aim_line(axes, 200, "aim for the median: 200 us")
    axes.set(ylabel="us", ylim=(0, 1.12 * max(axes.get_ylim()[1], 200)))
    axes.set_xlim(-0.6, 1.6)
    above(axes, 3)
    figure.suptitle(f"After the end of a turn of a kernel that does not end ({result['turns']:.0f} turns, the longest "
                    f"{result['max_us']:.0f} us)", fontsize=11)
    save(pyplot, figure, folder / f"bench-preempt{suffix}")


def overhead(pyplot, result, folder, suffix):
    loads = result["loads"]
    costs = [(LOADS.get(load["load"], load["load"]), load["cost"], load["cost_least"], load["cost_most"]) for load in loads]
    figure, axes = figure_of(pyplot, 3.4)
    for x, (_, cost, least, most) in enumerate(costs):
        axes.bar(x, 100 * cost, 0.5, color=LIGHT, label=None if x else "two guests of 3:1, against one alone")
        axes.vlines(x, 100 * least, 100 * most, color="#333333", lw=1.4, zorder=3)
        note(axes, x + 0.03, 100 * max(cost, 0), f"{100 * cost:.2f}", ha="left")
    noise = 100 * abs(result.get("idle_noise", 0))
    beside = {f"{result['idle_vgpus']} idle vGPUs": result[idle_key(result)]}
    if number(result.get("crowd_cost")):
        beside["idle processes, as\nmany as they have"] = result["crowd_cost"]
    for x, cost in enumerate(beside.values(), len(costs)):
        axes.bar(x, 100 * cost, 0.5, color=SHADES[0], label=None if x > len(costs) else "one beside idle ones, against without")
        if noise:
            axes.vlines(x, 100 * cost - noise, 100 * cost + noise, color="#333333", lw=1.4, zorder=3)
        note(axes, x + 0.03, 100 * max(cost, 0), f"{100 * cost:.2f}", ha="left")
    axes.set_xticks(range(len(costs) + len(beside)), [name for name, *_ in costs] + list(beside))
    axes.axhline(0, color="black", lw=0.8)
    aim_line(axes, 1.5, "aim for 3:1: 1.5 %")
    axes.set_ylabel("work lost, %")
    axes.grid(axis="y")
    above(axes, 3, columnspacing=1.2)
    figure.suptitle("What sharing costs (lines: least and most of the rounds, or the noise)", fontsize=11)
    save(pyplot, figure, folder / f"bench-overhead{suffix}")


def watchdog(pyplot, result, folder, suffix):
    figure, axes = figure_of(pyplot, 3.2, 1, 2, gridspec_kw={"width_ratios": [2, 3]})
    good, bad = result["neighbour_beside_good"], result["neighbour_beside_bad"]
    for x, (value, colour) in enumerate(((good, LIGHT), (bad, DARK))):
        axes[0].bar(x, value, 0.55, color=colour)
        note(axes[0], x, value, f"{value:.3f}")
    axes[0].set_xticks(range(2), ["beside kernels\nof 1 ms", "beside one that\nis always reset"])
    axes[0].set(ylabel="work done, GPUs", ylim=(0, 1.25 * max(good, bad, 0.5)))
    aim_line(axes[0], good, "aim: no loss")
    axes[0].legend(loc="upper right")
    axes[0].set_title(f"a neighbour of the same weight ({100 * (bad / good - 1):+.0f} %)" if good > 0 else "a neighbour")
    times = [("the guest is told,\nmedian", result["reset_ms"]), ("the guest is told,\n99th percentile", result["reset_p99_ms"]),
             ("it can launch again,\nmedian", result["back_ms"])]
    axes[1].set(yscale="log")
    for x, (_, value) in enumerate(times):
        axes[1].bar(x, max(value, 0.01), 0.55, color=[LIGHT, DARK, LIGHT][x])
        note(axes[1], x, max(value, 0.01), short(value))
    axes[1].set_xticks(range(len(times)), [name for name, _ in times])
    axes[1].set(ylabel="ms", ylim=(0.5 * min(max(value, 0.01) for _, value in times), 4 * max(max(value, 0.01) for _, value in times)))
    axes[1].set_title(f"after the limit of {result['limit_ns'] / 1e6:.0f} ms ({result['resets']:.0f} resets)")
    axes[1].yaxis.set_major_formatter("{x:g}")
    for one in axes:
        one.grid(axis="y")
    figure.suptitle("A guest whose kernels do not end is reset, and begins again", fontsize=11)
    save(pyplot, figure, folder / f"bench-watchdog{suffix}")


CHARTS = {"fairness": fairness, "latency": latency, "preempt": preempt, "overhead": overhead, "watchdog": watchdog}


def draw(result, folder, suffix):
    CHARTS[result["benchmark"]](load_pyplot(), result, folder, suffix)
