"""python -m training: data, training, evaluation, and the model repository."""

import sys

from servers.runtime.command_line import App
from servers.runtime.errors import MarqueeError
from training.commands.benchmark import app as benchmark_app
from training.commands.contact_sheet import contact_sheet_command
from training.commands.data import app as data_app
from training.commands.evaluate import evaluate_command
from training.commands.off_policy import off_policy_command
from training.commands.onboard import onboard_command
from training.commands.recipes import recipes_command
from training.commands.recommend import recommend_command
from training.commands.repository import app as repository_app
from training.commands.reproduce import reproduce_command
from training.commands.results import results_command
from training.commands.retrain import retrain_command
from training.commands.simulate import simulate_command
from training.commands.train import train
from training.errors import DataError, TrainingError

app = App(
    help="Data, training, evaluation and the model repository of Marquee.",
    no_args_is_help=True,
    epilog="Example: python -m training train all --recipe small --data var/data/generated --repository var/repository",
)
app.add_typer(data_app, name="data")
app.add_typer(benchmark_app, name="benchmark")
app.add_typer(repository_app, name="repository")
app.command(epilog="Example: python -m training train rating --recipe small --split none")(train)
app.command("recipes", epilog="Example: python -m training recipes sequential")(recipes_command)
app.command("onboard", epilog="Example: python -m training onboard --items new.csv --posters new-posters")(
    onboard_command
)
app.command("contact-sheet", epilog="Example: python -m training contact-sheet sheet.png")(contact_sheet_command)
app.command("evaluate", epilog="Example: python -m training evaluate --report var/report")(evaluate_command)
app.command("recommend", epilog="Example: python -m training recommend --users all --k 100 --out lists.parquet")(
    recommend_command
)
app.command(
    "retrain", epilog="Example: python -m training retrain --from-store sqlite:///var/events.db --recipe small"
)(retrain_command)
app.command(
    "off-policy",
    epilog="Example: python -m training off-policy --policy new.yaml --log sqlite:///var/events.db --metric click",
)(off_policy_command)
app.command("reproduce", epilog="Example: python -m training reproduce --data data/ml-100k --only S1,S4")(
    reproduce_command
)
app.command("simulate", epilog="Example: python -m training simulate --gateway 127.0.0.1:8001 --seconds 60")(
    simulate_command
)
app.command("results", epilog="Example: python -m training results --write")(results_command)


def main() -> None:
    """Errors that a person can put right, the system's among them, are one line on standard error, and exit code 1."""
    try:
        app()
    except OSError as error:
        print(f"error: {f'{error.filename}: ' if error.filename else ''}{error.strerror or error}", file=sys.stderr)
        sys.exit(1)
    except (TrainingError, DataError, MarqueeError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
