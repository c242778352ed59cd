"""How pages are made: their templates, the style sheet and the macros they share."""

import jinja2

from gtx_bayes.diagnostics.report.wording import amount, interval, ordinal, percent, shown, visible


def page_template(package: str, name: str) -> jinja2.Template:
    """A template that a package holds; it may include `page.css` and import `macros.html.jinja`.

    Args:
        package: the package, by its full name.
        name: the template's file.
    """
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [jinja2.PackageLoader(package, ""), jinja2.PackageLoader(__package__, "")]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "amount": amount,
        "visible": visible,
        "shown": shown,
        "interval": interval,
        "ordinal": ordinal,
        "number": "{:,}".format,
    }
    return environment.get_template(name)
