package cli

import (
	"fmt"
	"slices"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
)

type stepCmd struct {
	Create      stepCreateCmd      `cmd:"" help:"Train a new checkpoint on scored samples."`
	Get         stepGetCmd         `cmd:"" help:"Show a step with every parameter resolved."`
	List        stepListCmd        `cmd:"" help:"List steps."`
	Wait        stepWaitCmd        `cmd:"" help:"Wait for the end of a step, showing progress."`
	Logs        stepLogsCmd        `cmd:"" help:"Print what happened to a step; -f follows it to its end."`
	Metrics     stepMetricsCmd     `cmd:"" help:"Show the metrics of each optimiser batch, or plot them."`
	Checkpoints stepCheckpointsCmd `cmd:"" aliases:"list-checkpoints" help:"List the checkpoints of a step or trainer."`
	Promote     stepPromoteCmd     `cmd:"" aliases:"promote-checkpoint" help:"Make a model of its own of a checkpoint."`
	Credentials stepCredentialsCmd `cmd:"" help:"List the storage credentials that were minted for a step."`
	Execute     stepExecuteCmd     `cmd:"" help:"Ask a keep-alive trainer for a step; it continues its last one."`
	Resume      stepResumeCmd      `cmd:"" help:"Take a failed or cancelled step, or trainer, up again."`
	Cancel      stepCancelCmd      `cmd:"" help:"Stop a step."`
	Delete      stepDeleteCmd      `cmd:"" help:"Delete a step's record; its checkpoint stays."`
}

// stepCreateCmd has a flag for every parameter of docs/reinforcement.md. What
// is not given is the server's default or, on a LoRA, inherited.
type stepCreateCmd struct {
	ID      string `aliases:"job-id" help:"Id of the step; chosen by the server otherwise."`
	Display string `name:"display-name" help:"Shown in lists."`
	Dataset string `short:"d" help:"Dataset with scored samples; a trainer may do without." complete:"datasets"`
	Model   string `required:"" short:"m" aliases:"base-model,warm-start-from" help:"Base model, or the LoRA checkpoint to continue." complete:"models"`
	Output  string `short:"o" aliases:"output-model" help:"Name of the new checkpoint; it must not exist."`
	Wait    bool   `help:"Wait for the end, showing progress."`
	Keep    bool   `name:"keep-alive" help:"Make a trainer that waits for steps to execute."`

	Evaluation string `name:"evaluation-dataset" help:"Rows held out: what the result says of them." complete:"datasets"`

	Reward           []string `group:"Loss" aliases:"rewards" help:"key=weight or a bare key; repeat for several." placeholder:"KEY[=W]"`
	Method           *string  `group:"Loss" help:"GRPO, DAPO, GSPO_TOKEN, DPO, ORPO, PPO, DR_GRPO, CISPO, IMPORTANCE_SAMPLING or SFT."`
	KLBeta           *float64 `group:"Loss" name:"kl-beta" help:"Weight of the KL term; 0 = none."`
	DPOBeta          float64  `group:"Loss" name:"dpo-beta" help:"Weight of the log-ratios of DPO; above 0, below 0.5." placeholder:"B"`
	ORPOLambda       float64  `group:"Loss" name:"orpo-lambda" help:"Weight of the odds ratio of ORPO." placeholder:"L"`
	OverlongMax      *int     `group:"Loss" name:"overlong-max-tokens" help:"Samples of this many scored tokens lose 1 of their reward."`
	OverlongBuffer   *int     `group:"Loss" name:"overlong-buffer-tokens" help:"How many tokens before that the penalty begins."`
	KLReference      string   `group:"Loss" name:"kl-reference" help:"base or incoming."`
	ClipLow          *float64 `group:"Loss" help:"Lower bound of the ratio."`
	ClipHigh         *float64 `group:"Loss" help:"Upper bound of the ratio."`
	DualClip         *float64 `group:"Loss" help:"Dual clip; 0 = none."`
	TISCap           *float64 `group:"Loss" name:"tis-cap" help:"Cap of the importance weight."`
	OffPolicy        *float64 `group:"Loss" name:"off-policy-threshold" help:"Mean log-ratio above which a bad sample is dropped."`
	ScaleRewards     string   `group:"Loss" help:"group or none."`
	Baseline         string   `group:"Loss" name:"advantage-baseline" help:"group, batch or constant."`
	BaselineConstant *float64 `group:"Loss" name:"advantage-constant" help:"With --advantage-baseline constant."`
	OnNoSignal       string   `group:"Loss" help:"complete or fail: how a step without any gradient ends."`

	weightFlags
}

// Run implements a command.
func (c *stepCreateCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	if err := c.positive(); err != nil {
		return err
	}
	switch {
	case c.Keep && c.Wait:
		return rft.FieldErrorf("wait", "--wait: a trainer has no end; wait for the models that its steps make")
	case !c.Keep && (c.Dataset == "" || c.Output == ""):
		return rft.FieldErrorf("dataset", "--dataset and --output are required, unless --keep-alive makes a trainer")
	}
	model, err := a.findModel(client, account, c.Model)
	if err != nil {
		return err
	}
	j := c.job()
	start(model, &j.TrainingConfig.BaseModel, &j.TrainingConfig.WarmStartFrom)
	made, err := client.CreateStep(a.ctx, account, c.ID, j)
	if err != nil {
		return err
	}
	if !c.Wait {
		return a.show(made)
	}
	if made, err = a.waitStep(client, account, id(made.Name)); err != nil {
		return err
	}
	return a.show(made)
}

// findModel resolves a name as the server does: the account's own, then the
// operator's.
func (a *app) findModel(c *api.Client, account, ref string) (*api.Model, error) {
	n, err := rft.ParseName("model", ref, account, rft.Models)
	if err != nil {
		return nil, err
	}
	m, err := c.GetModel(a.ctx, n.Account, n.ID)
	if kindOf(err) == rft.KindNotFound && ref == n.ID {
		if published, e := c.GetModel(a.ctx, rft.OperatorAccount, n.ID); e == nil {
			return published, nil
		}
	}
	return m, err
}

// job is the request that the flags describe.
func (c *stepCreateCmd) job() *api.RlorTrainerJob {
	j := &api.RlorTrainerJob{DisplayName: c.Display, Dataset: c.Dataset, EvalDataset: c.Evaluation, RewardWeights: c.Reward, KeepAlive: c.Keep, LossConfig: &api.LossConfig{KLBeta: c.KLBeta}}
	if c.Method != nil {
		j.LossConfig.Method = *c.Method
	}
	if c.DPOBeta != 0 {
		j.LossConfig.DPO = &api.DPOLoss{Beta: c.DPOBeta}
	}
	if c.ORPOLambda != 0 {
		j.LossConfig.ORPO = &api.ORPOLoss{Lambda: c.ORPOLambda}
	}
	j.TrainingConfig, j.Firekeep = c.config(c.Output), c.extension()
	x := j.Firekeep
	x.ScaleRewards, x.AdvantageBaseline, x.AdvantageConstant, x.KLReference = c.ScaleRewards, c.Baseline, c.BaselineConstant, c.KLReference
	x.TISCap, x.OffPolicyThreshold, x.ClipLow, x.ClipHigh, x.DualClip = c.TISCap, c.OffPolicy, c.ClipLow, c.ClipHigh, c.DualClip
	x.OverlongMaxTokens, x.OverlongBufferTokens, x.OnNoSignal = c.OverlongMax, c.OverlongBuffer, c.OnNoSignal
	return j
}

// waitStep follows a step to its end. On a terminal one line is redrawn;
// elsewhere each optimiser batch gives a line. Interrupting it leaves the step
// running.
func (a *app) waitStep(c *api.Client, account, id string) (*api.RlorTrainerJob, error) {
	f := a.follow()
	defer f.end()
	seen := int64(0)
	var last *api.StepMetrics
	for {
		j, err := c.GetStep(a.ctx, account, id)
		fresh := &api.StepMetricsList{}
		if err == nil {
			fresh, err = c.JobMetrics(a.ctx, account, api.StepJobs, id, seen)
		}
		if err != nil {
			again, e := f.again(err)
			if again {
				continue
			}
			return nil, a.leave(e, "step", "cancel", id)
		}
		f.answered()
		t := ofStep(j)
		for i := range fresh.Metrics {
			last = &fresh.Metrics[i]
			seen = last.Update
			if !a.Terminal {
				f.show(fmt.Sprint(t.State, seen), t.line(last))
			}
		}
		if t.State.Terminal() {
			f.end()
			a.warnings(c, account, id)
			return j, a.ended(t)
		}
		f.show(fmt.Sprint(t.State, seen), t.line(last))
		if err := a.pause(pollEvery); err != nil {
			return nil, a.leave(err, "step", "cancel", id)
		}
	}
}

// warnings prints what a user must see, such as rows without a group.
func (a *app) warnings(c *api.Client, account, id string) {
	l, err := c.JobEvents(a.ctx, account, api.StepJobs, id, 0)
	if err != nil {
		return // the step's own end says more
	}
	for _, e := range l.Events {
		if e.Type == "warning" {
			fmt.Fprintln(a.Stderr, "warning:", oneLine(e.Message))
		}
	}
}

type stepGetCmd struct {
	ID string `arg:"" help:"The step." complete:"steps"`
}

// Run implements a command.
func (c *stepGetCmd) Run(a *app) error {
	return showing(a, "ID", c.ID, rft.Steps, func(client *api.Client, account, id string) (*api.RlorTrainerJob, error) {
		return client.GetStep(a.ctx, account, id)
	})
}

type stepListCmd struct{}

// Run implements a command.
func (c *stepListCmd) Run(a *app) error {
	client, account, err := a.session()
	if err != nil {
		return err
	}
	steps, err := all(func(o api.ListOptions) ([]api.RlorTrainerJob, api.Page, error) {
		o.OrderBy = "create_time"
		l, err := client.ListSteps(a.ctx, account, o)
		return l.Steps, l.Page, err
	})
	if err != nil {
		return err
	}
	var rows [][]string
	for _, j := range steps {
		output := "-"
		if j.TrainingConfig != nil {
			output = id(j.TrainingConfig.OutputModel)
		}
		rows = append(rows, []string{id(j.Name), jobState(j.State), percent(j.JobProgress), id(j.Dataset), output, at(j.CreateTime)})
	}
	return a.table(steps, "ID STATE DONE DATASET OUTPUT CREATED", rows)
}

// metricsTable lists metrics; of preferences it has what pairs have, of supervised
// jobs no rewards.
func (a *app) metricsTable(of jobNoun, metrics []api.StepMetrics) error {
	heading := "UPDATE SAMPLES REWARD LOSS KL CLIP GRAD ENTROPY DEAD TOK/S"
	pairs := slices.ContainsFunc(metrics, func(m api.StepMetrics) bool { return m.Pairs > 0 })
	if pairs {
		heading = "UPDATE SAMPLES PAIRS LOSS ACCURACY MARGIN GRAD TOK/S"
	}
	plain := of.collection == rft.SFTJobs
	if plain {
		heading = "UPDATE SAMPLES LOSS GRAD ENTROPY TOK/S"
	}
	var rows [][]string
	for _, m := range metrics {
		row := []string{fmt.Sprint(m.Update), fmt.Sprint(m.Samples)}
		if plain {
			row = append(row, fmt.Sprintf("%+.5f", m.Loss), fmt.Sprintf("%.4f", m.GradNorm), fmt.Sprintf("%.3f", m.Entropy))
		} else if pairs {
			row = append(row, fmt.Sprint(m.Pairs), fmt.Sprintf("%+.5f", m.Loss), fmt.Sprintf("%.3f", m.PairAccuracy), fmt.Sprintf("%+.4f", m.PairMargin), fmt.Sprintf("%.4f", m.GradNorm))
		} else {
			row = append(row, fmt.Sprintf("%.4f", m.RewardMean), fmt.Sprintf("%+.5f", m.Loss), fmt.Sprintf("%.5f", m.KL), fmt.Sprintf("%.3f", m.ClipFraction), fmt.Sprintf("%.4f", m.GradNorm),
				fmt.Sprintf("%.3f", m.Entropy), fmt.Sprintf("%d/%d", m.DeadGroups, m.Groups))
		}
		rows = append(rows, append(row, fmt.Sprintf("%.0f", m.TokensPerSecond)))
	}
	return a.table(metrics, heading, rows)
}

type stepCancelCmd struct {
	ID string `arg:"" help:"The step." complete:"steps"`
}

// Run implements a command.
func (c *stepCancelCmd) Run(a *app) error {
	return doing(a, "cancelling", "ID", c.ID, rft.Steps, func(client *api.Client, account, id string) error {
		return client.CancelStep(a.ctx, account, id)
	})
}

type stepDeleteCmd struct {
	ID string `arg:"" help:"The step." complete:"steps"`
}

// Run implements a command.
func (c *stepDeleteCmd) Run(a *app) error {
	return doing(a, "deleted", "ID", c.ID, rft.Steps, func(client *api.Client, account, id string) error {
		return client.DeleteStep(a.ctx, account, id)
	})
}

type stepWaitCmd struct {
	ID string `arg:"" help:"The step." complete:"steps"`
}

// Run implements a command.
func (c *stepWaitCmd) Run(a *app) error {
	client, account, id, err := a.named("ID", c.ID, rft.Steps)
	if err != nil {
		return err
	}
	j, err := a.waitStep(client, account, id)
	if err != nil {
		return err
	}
	return a.show(j)
}
