from snakemake.utils import min_version

min_version("9.0")

# A configuration given on the command line replaces the demo's; it never inherits from it.
if not workflow.overwrite_configfiles:

    configfile: f"{workflow.basedir}/config/config.yaml"


report: "workflow/report/captions/workflow.rst"


include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/train.smk"
include: "rules/predict.smk"
include: "rules/scenarios.smk"
include: "rules/verify.smk"
include: "rules/explain.smk"
include: "rules/report.smk"


take_over()


onstart:
    begin(log)


onsuccess:
    end()


onerror:
    end()


rule all:
    default_target: True
    input:
        rules.report.input,
