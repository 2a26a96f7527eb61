"""What the demo plan says: the strategy of a health system, as people would write it down."""

from __future__ import annotations

NUMBER, PERCENT, CURRENCY = 0, 1, 2
"""What ``units`` means is not documented; these are the simulator's."""

STRATEGY: dict[str, dict[str, tuple[list[tuple[str, str, int, str, str]], list[str]]]] = {
    "Deliver care people trust": {
        "Raise patient experience": (
            [
                ("pat-nps", "Patient Net Promoter Score", NUMBER, "41", "60"),
                ("pat-wait-ed", "Median wait in emergency care (minutes)", NUMBER, "52", "30"),
                ("pat-complaints", "Complaints per 1,000 visits", NUMBER, "3.8", "2.0"),
                ("pat-portal", "Patients active on the portal", PERCENT, "0.34", "0.60"),
            ],
            ["Open the second triage desk", "Rewrite discharge letters in plain language"],
        ),
        "Make care safer": (
            [
                ("saf-falls", "Falls with injury per 1,000 bed days", NUMBER, "0.92", "0.45"),
                ("saf-hai", "Hospital-acquired infections per 1,000 bed days", NUMBER, "1.75", "0.90"),
                ("saf-hand", "Hand hygiene compliance", PERCENT, "0.81", "0.95"),
                ("saf-readmit", "Readmissions < 30 days", PERCENT, "0.118", "0.090"),
            ],
            ["Daily safety huddle on every ward"],
        ),
    },
    "Be the best place to work": {
        "Keep and grow our people": (
            [
                ("ppl-turnover", "Voluntary turnover", PERCENT, "0.172", "0.110"),
                ("ppl-engagement", "Engagement index", NUMBER, "68", "78"),
                ("ppl-vacancy", "Nursing vacancy rate", PERCENT, "0.126", "0.070"),
                ("ppl-training", "Training hours per employee", NUMBER, "14.5", "24"),
            ],
            ["Launch the mentoring programme", "Self-service shift swaps"],
        ),
        "Lead with equity": (
            [
                ("eqy-leaders", "Leadership roles held by under-represented groups", PERCENT, "0.27", "0.40"),
                ("eqy-paygap", "Unexplained pay gap", PERCENT, "0.043", "0.010"),
            ],
            ["Publish the pay equity report"],
        ),
    },
    "Stay financially strong": {
        "Grow operating margin": (
            [
                ("fin-margin", "Operating margin", PERCENT, "0.021", "0.040"),
                ("fin-revenue", "Net patient revenue (USD)", CURRENCY, "412500000.00", "468000000.00"),
                ("fin-cost-case", "Cost per adjusted case (USD)", CURRENCY, "11840.55", "10900.00"),
                ("fin-supply", "Supply cost / net revenue", PERCENT, "0.187", "0.165"),
            ],
            ["Renegotiate the five largest supply contracts"],
        ),
        "Collect what we earn": (
            [
                ("fin-dar", "Days in accounts receivable", NUMBER, "51.3", "42"),
                ("fin-denials", "Initial denial rate", PERCENT, "0.119", "0.070"),
                ("fin-cash", "Days cash on hand", NUMBER, "164", "200"),
            ],
            ["Move prior authorisations online"],
        ),
    },
    "Grow where we are needed": {
        "Widen access": (
            [
                ("acc-newpat", "New primary care patients", NUMBER, "8450", "12000"),
                ("acc-third", "Days to third next available appointment", NUMBER, "17", "7"),
                ("acc-virtual", "Visits held virtually", PERCENT, "0.09", "0.22"),
                ("acc-rural", "Rural clinics open", NUMBER, "3", "6"),
            ],
            ["Open the Millbrook clinic", "Hire 12 family physicians"],
        ),
        "Strengthen research & teaching": (
            [
                ("res-grants", "Research grants (USD)", CURRENCY, "18250000.00", "26000000.00"),
                ("res-trials", "Patients in clinical trials", NUMBER, "640", "1100"),
            ],
            ["Found the joint R&D office"],
        ),
    },
    "Run on data": {
        "Modernise the platform": (
            [
                ("dat-uptime", "Clinical systems uptime", PERCENT, "0.9962", "0.9995"),
                ("dat-legacy", "Legacy applications retired", NUMBER, "4", "30"),
                ("dat-mfa", "Accounts with multi-factor sign-in", PERCENT, "0.71", "1.00"),
            ],
            ["Complete the cloud migration"],
        ),
        "Decide by numbers": (
            [
                ("dat-selfserve", "Managers using self-service analytics", PERCENT, "0.22", "0.65"),
                ("dat-quality", "Data quality score", NUMBER, "73", "92"),
                ("dat-reports", "Manual reports retired", NUMBER, "0", "120"),
            ],
            ["Publish the KPI catalogue"],
        ),
    },
}
"""Goal -> objective -> key results (external id, name, units, baseline, target) and actions (names)."""
