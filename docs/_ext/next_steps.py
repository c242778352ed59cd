"""Where a reader goes from each page: the target, and what is there."""

import os

REPOSITORY = os.environ.get("GITHUB_REPOSITORY", "")
"""Owner and name where the docs are built by a workflow; empty elsewhere: no address is made up."""

QUICKSTART = ("notebooks/01_quickstart.ipynb", "a crowd from answers to labels, step by step")
INSTALL = ("install.md", "what is needed, and how to check that it works")
COMMANDS = ("command_line.md", "every command, its files and its options")
REPORT = ("report.md", "one page that says whether a crowd's labels can be trusted")
CHECKS = ("checking_a_fit.md", "what to ask of a fit, in which order")
COLLECTING = ("collecting.md", "which label to buy next, and when to stop")
DECIDES = ("how_it_decides.md", "the formulas, from one example to a crowd")
MODELS = ("models.md", "which models of labelers there are, and when to use which")
TOGETHER = ("labelers_err_together.md", "labelers who err on the same examples")
BELIEVE = ("why_we_believe_it.md", "what is assumed, when it fails, what gold adds")
SBC = ("calibration_of_inference.md", "simulations that show whether posteriors are right")
CROWDS = ("real_crowds.md", "every method on thirteen crowds with known answers")
WORLDS = ("worlds.md", "crowds that err in ways that are known")
PANELS = ("panels.md", "how many judges a panel is worth, how good each is, whom it can spare")
SHARES = ("shares.md", "the share of every class, with an interval, from a little gold")
LIVE = ("live_project.md", "Label Studio, told which task gets another label")
LIVE_NOTEBOOK = ("notebooks/12_a_live_project.ipynb", "the loop beside a tool in memory")
GROWING = ("growing_crowds.md", "answers that come later, learnt without a fit anew")
LARGE = ("large_tables.md", "tables that memory does not hold")
DEVICES = ("many_devices.md", "several accelerators")
ACCELERATORS = ("accelerators.md", "what compilers make of the kernels for a GPU and a TPU")
OWN_MODEL = ("notebooks/06_your_own_labeler_model.ipynb", "a model of how labelers err, in a file")
OWN_POLICY = ("notebooks/09_your_own_policy.ipynb", "a rule for what to label next, in a file")
BUDGETS = ("notebooks/03_budgets_and_policies.ipynb", "policies compared by simulation")
FINETUNE = ("finetuning.md", "from labels to a classifier of images")
PAPER = ("reproducing.md", "the paper's tables and figures beside ours")
OTHERS = (
    "what_nobody_else_has.md",
    "what other packages do, and what they have that this one lacks",
)
BENCHMARKS = ("benchmarks.md", "how fast it is, and against what")
NEW = ("developer/new_method.md", "skeletons of a method, a model, a policy")
HOUSE = ("developer/house.md", "what stands where in the code")
CONTRIBUTING = ("developer/contributing.md", "a first change in ten minutes")
API = ("api/index.md", "every function and class")
NOTATION = ("notation.md", "the paper's symbols and their names in the code")

NEXT = {
    "install": (QUICKSTART, COMMANDS),
    "notebooks/01_quickstart": (REPORT, COLLECTING, DECIDES),
    "notebooks/02_reproduction": (PAPER, BUDGETS),
    "notebooks/03_budgets_and_policies": (COLLECTING, OWN_POLICY),
    "notebooks/04_joint_inference": (CHECKS, TOGETHER, MODELS),
    "notebooks/05_checking_a_fit": (REPORT, SBC),
    "notebooks/06_your_own_labeler_model": (MODELS, SBC, NEW),
    "notebooks/07_finetuning": (FINETUNE, COMMANDS),
    "notebooks/08_large_tables": (LARGE, DEVICES),
    "notebooks/09_your_own_policy": (COLLECTING, NEW),
    "live_project": (LIVE_NOTEBOOK, COLLECTING, TOGETHER, COMMANDS),
    "command_line": (QUICKSTART, REPORT, COLLECTING),
    "from_your_tool": (QUICKSTART, REPORT, LIVE),
    "notebooks/10_a_panel_of_judges": (PANELS, SHARES),
    "notebooks/11_a_share_with_little_gold": (SHARES, REPORT),
    "notebooks/12_a_live_project": (LIVE, COLLECTING),
    "prior_knowledge": (COLLECTING, CHECKS, DECIDES),
    "coming_from": (QUICKSTART, OTHERS),
    "panels": (SHARES, REPORT, TOGETHER),
    "shares": (REPORT, CHECKS),
    "report": (CHECKS, COLLECTING, BELIEVE),
    "checking_a_fit": (REPORT, SBC, BELIEVE),
    "collecting": (BUDGETS, LIVE, OWN_POLICY),
    "growing_crowds": (COLLECTING, CHECKS, LARGE),
    "large_tables": (DEVICES, GROWING, BENCHMARKS),
    "many_devices": (ACCELERATORS, LARGE, BENCHMARKS),
    "accelerators": (DEVICES, BENCHMARKS),
    "finetuning": (COLLECTING, PAPER),
    "reproducing": (DECIDES, CROWDS),
    "how_it_decides": (TOGETHER, MODELS, BELIEVE),
    "models": (OWN_MODEL, CHECKS, BELIEVE),
    "labelers_err_together": (BELIEVE, REPORT, WORLDS),
    "why_we_believe_it": (CHECKS, SBC, CROWDS),
    "calibration_of_inference": (CHECKS, BELIEVE),
    "real_crowds": (WORLDS, OTHERS, CHECKS),
    "worlds": (CROWDS, BELIEVE),
    "what_nobody_else_has": (CROWDS, QUICKSTART),
    "benchmarks": (LARGE, DEVICES, OTHERS),
    "registries": (MODELS, COLLECTING, NEW),
    "notation": (DECIDES, API),
    "api/index": (QUICKSTART, OWN_MODEL, HOUSE),
    "developer/contributing": (NEW, HOUSE),
    "developer/changelog": (INSTALL, CONTRIBUTING),
    "developer/house": (NEW, CONTRIBUTING),
    "developer/new_method": (OWN_MODEL, OWN_POLICY, CONTRIBUTING),
    "developer/second_design": (HOUSE,),
    "developer/pool": (BELIEVE, HOUSE),
}
NEXT |= {
    f"api/{page}": (API, steps)
    for page, steps in {
        "data": COMMANDS,
        "aggregation": DECIDES,
        "inference": CHECKS,
        "models": OWN_MODEL,
        "posterior": DECIDES,
        "metrics": CHECKS,
        "diagnostics": REPORT,
        "simulation": SBC,
        "streaming": LARGE,
        "collection": COLLECTING,
        "live": LIVE,
        "finetune": FINETUNE,
        "classifier": FINETUNE,
        "experiments": PAPER,
    }.items()
}


def colab(page: str, repository: str = REPOSITORY) -> str:
    """A line of Markdown that opens a notebook in Colab; none where its address is not known."""
    if not repository or not page.startswith("notebooks/"):
        return ""
    address = f"https://colab.research.google.com/github/{repository}/blob/main/{page}.ipynb"
    return f"[Open this notebook in Colab]({address})"
