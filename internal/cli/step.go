package cli

import (
	"fmt"
	"strings"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/rft"
)

type stepCmd struct {
	Create      stepCreateCmd      `cmd:"" help:"Train a new checkpoint on scored samples."`
	Get         stepGetCmd         `cmd:"" help:"Show a step with every parameter resolved."`
	List        stepListCmd        `cmd:"" help:"List steps."`
	Metrics     stepMetricsCmd     `cmd:"" help:"Show the metrics of each optimiser batch."`
	Credentials stepCredentialsCmd `cmd:"" help:"List the storage credentials that were minted for a step."`
	Execute     stepExecuteCmd     `cmd:"" help:"Ask a keep-alive trainer for a step; it continues its last one."`
	Resume      stepResumeCmd      `cmd:"" help:"Take a failed or cancelled step, or trainer, up again."`
	Cancel      stepCancelCmd      `cmd:"" help:"Stop a step."`
	Delete      stepDeleteCmd      `cmd:"" help:"Delete a step's record; its checkpoint stays."`
}

// stepCreateCmd has a flag for every parameter of docs/reinforcement.md. What
// is not given is the server's default or, on a LoRA, inherited.
type stepCreateCmd struct {
	ID      string `help:"Id of the step; chosen by the server otherwise."`
	Display string `name:"display-name" help:"Shown in lists."`
	Dataset string `short:"d" help:"Dataset with scored samples; a trainer may do without."`
	Model   string `required:"" short:"m" help:"Base model, or the LoRA checkpoint to continue."`
	Output  string `short:"o" help:"Name of the new checkpoint; it must not exist."`
	Wait    bool   `help:"Wait for the end, showing progress."`
	Keep    bool   `name:"keep-alive" help:"Make a trainer that waits for steps to execute."`

	Reward           []string `group:"Loss" help:"key=weight or a bare key; repeat for several." placeholder:"KEY[=W]"`
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

	Rank    *int     `group:"LoRA" name:"lora-rank" help:"Rank."`
	Alpha   *float64 `group:"LoRA" name:"lora-alpha" help:"Alpha; twice the rank by default."`
	Targets []string `group:"LoRA" name:"lora-targets" help:"Linear layers, such as q_proj,v_proj; all by default."`

	Epochs           *int     `group:"Training" help:"Passes over the dataset."`
	LearningRate     *float64 `group:"Training" help:"Learning rate."`
	Warmup           *int     `group:"Training" name:"warmup-steps" help:"Updates of linear warm-up."`
	WeightDecay      *float64 `group:"Training" help:"Decoupled weight decay."`
	Beta1            *float64 `group:"Training" help:"AdamW."`
	Beta2            *float64 `group:"Training" help:"AdamW."`
	Epsilon          *float64 `group:"Training" help:"AdamW."`
	MaxGradNorm      *float64 `group:"Training" help:"Global norm of clipping."`
	BatchSize        *int     `group:"Training" help:"Tokens per batch."`
	BatchSizeSamples *int     `group:"Training" help:"Samples per batch; 0 = no bound."`
	GradAccumulation *int     `group:"Training" help:"Batches per update."`
	MaxContextLength *int     `group:"Training" help:"Tokens per sample; longer ones are cut."`
	Seed             *int64   `group:"Training" help:"Seed of order and initial weights."`
	ResumeEvery      *int     `group:"Training" help:"Updates between resume points."`
	JinjaTemplate    string   `group:"Training" help:"Chat template instead of the model's." placeholder:"TEMPLATE"`
	AllowChange      bool     `group:"Training" name:"allow-parameter-change" help:"Let a continued LoRA differ in all but rank, alpha and targets."`
	AllowKernel      bool     `group:"Training" name:"allow-kernel-change" help:"Let a resume go on at another kernel level or precision."`
	Precision        string   `group:"Training" help:"auto, float32 or bfloat16; as config.json says by default."`
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
	if model.Kind == "HF_PEFT_ADDON" {
		j.TrainingConfig.WarmStartFrom = model.Name
	} else {
		j.TrainingConfig.BaseModel = model.Name
	}
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
	j := &api.RlorTrainerJob{DisplayName: c.Display, Dataset: c.Dataset, RewardWeights: c.Reward, KeepAlive: c.Keep, LossConfig: &api.LossConfig{KLBeta: c.KLBeta}}
	if c.Method != nil {
		j.LossConfig.Method = *c.Method
	}
	if c.DPOBeta != 0 {
		j.LossConfig.DPO = &api.DPOLoss{Beta: c.DPOBeta}
	}
	if c.ORPOLambda != 0 {
		j.LossConfig.ORPO = &api.ORPOLoss{Lambda: c.ORPOLambda}
	}
	j.TrainingConfig = &api.TrainingConfig{OutputModel: c.Output, JinjaTemplate: c.JinjaTemplate, LearningRate: given(c.LearningRate),
		MaxContextLength: given(c.MaxContextLength), LoraRank: given(c.Rank), Epochs: given(c.Epochs), BatchSize: given(c.BatchSize), BatchSizeSamples: c.BatchSizeSamples,
		GradAccumulation: given(c.GradAccumulation), WarmupSteps: c.Warmup, WeightDecay: c.WeightDecay}
	j.Firekeep = &api.StepExtension{Seed: (*api.Int64)(c.Seed), LoraAlpha: c.Alpha, LoraTargetModules: c.Targets, ScaleRewards: c.ScaleRewards,
		AdvantageBaseline: c.Baseline, AdvantageConstant: c.BaselineConstant, KLReference: c.KLReference, TISCap: c.TISCap, OffPolicyThreshold: c.OffPolicy,
		ClipLow: c.ClipLow, ClipHigh: c.ClipHigh, DualClip: c.DualClip, Beta1: c.Beta1, Beta2: c.Beta2, Epsilon: c.Epsilon, MaxGradNorm: c.MaxGradNorm,
		OverlongMaxTokens: c.OverlongMax, OverlongBufferTokens: c.OverlongBuffer, OnNoSignal: c.OnNoSignal, ResumeEvery: c.ResumeEvery, AllowParameterChange: c.AllowChange, AllowKernelChange: c.AllowKernel, Precision: c.Precision}
	return j
}

// positive refuses zeros: on the wire they stand for what was not given, so the
// default would silently take their place. Other values are the server's to judge.
func (c *stepCreateCmd) positive() error {
	for name, p := range map[string]*int{"lora-rank": c.Rank, "epochs": c.Epochs, "batch-size": c.BatchSize, "grad-accumulation": c.GradAccumulation, "max-context-length": c.MaxContextLength} {
		if p != nil && *p == 0 {
			return rft.FieldErrorf(name, "--%s must be at least 1; leave it out for the default", name)
		}
	}
	if c.LearningRate != nil && *c.LearningRate == 0 {
		return rft.FieldErrorf("learning-rate", "--learning-rate must be greater than 0; leave it out for the default")
	}
	return nil
}

// given is the value of a flag, or the zero value that the wire leaves out.
func given[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// waitStep follows a step to its end. On a terminal one line is redrawn;
// elsewhere each optimiser batch gives a line. Interrupting it leaves the step
// running.
func (a *app) waitStep(c *api.Client, account, id string) (*api.RlorTrainerJob, error) {
	seen := int64(0)
	var last *api.StepMetrics
	for {
		j, err := c.GetStep(a.ctx, account, id)
		if err != nil {
			return nil, a.interrupted(err, id)
		}
		fresh, err := c.StepMetrics(a.ctx, account, id, seen)
		if err != nil {
			return nil, a.interrupted(err, id)
		}
		for i := range fresh.Metrics {
			last = &fresh.Metrics[i]
			seen = last.Update
			if !a.Terminal && !a.json {
				fmt.Fprintln(a.Stderr, progressLine(j, last))
			}
		}
		a.progress("%s", progressLine(j, last))
		if state := rft.JobState(j.State); state.Terminal() {
			a.progressEnd()
			a.warnings(c, account, id)
			return a.ended(j, state)
		}
		if err := a.pause(pollEvery); err != nil {
			return nil, a.interrupted(err, id)
		}
	}
}

// warnings prints what a user must see, such as rows without a group.
func (a *app) warnings(c *api.Client, account, id string) {
	l, err := c.StepEvents(a.ctx, account, id)
	if err != nil {
		return // the step's own end says more
	}
	for _, e := range l.Events {
		if e.Type == "warning" {
			fmt.Fprintln(a.Stderr, "warning:", e.Message)
		}
	}
}

// ended turns a terminal step into the command's result.
func (a *app) ended(j *api.RlorTrainerJob, state rft.JobState) (*api.RlorTrainerJob, error) {
	if state != rft.StateCompleted {
		kind := rft.Kind(j.Status.Code)
		if kind == "" || kind == "OK" {
			kind = rft.KindUnknown
		}
		return nil, rft.Errorf(kind, "%s is %s: %s", j.Name, strings.TrimPrefix(j.State, "JOB_STATE_"), j.Status.Message)
	}
	if j.Status.Message != "" {
		fmt.Fprintln(a.Stderr, "WARNING:", j.Status.Message)
	}
	return j, nil
}

func (a *app) interrupted(err error, id string) error {
	if a.ctx.Err() != nil {
		a.progressEnd()
		return rft.Errorf(rft.KindCancelled, "no longer waiting; the step goes on: `firekeep step get %s`, `firekeep step cancel %s`", id, id)
	}
	return err
}

func progressLine(j *api.RlorTrainerJob, m *api.StepMetrics) string {
	state := strings.ToLower(strings.TrimPrefix(j.State, "JOB_STATE_"))
	line := fmt.Sprintf("%-10s", state)
	if j.JobProgress != nil {
		line += fmt.Sprintf(" %3d%%", j.JobProgress.Percent)
	}
	if m != nil {
		line += fmt.Sprintf("  update %d  reward %.3f  loss %+.4f  kl %.4f  clip %.3f  grad %.3f  %.0f tok/s", m.Update, m.RewardMean, m.Loss, m.KL, m.ClipFraction, m.GradNorm, m.TokensPerSecond)
		if m.DeadGroups > 0 {
			line += fmt.Sprintf("  dead %d/%d", m.DeadGroups, m.Groups)
		}
	}
	if j.Firekeep != nil && j.Firekeep.ETASeconds > 0 {
		line += "  ETA " + (time.Duration(j.Firekeep.ETASeconds) * time.Second).String()
	}
	return line
}

type stepGetCmd struct {
	ID string `arg:"" help:"The step."`
}

// Run implements a command.
func (c *stepGetCmd) Run(a *app) error {
	client, account, id, err := a.named("ID", c.ID, rft.Steps)
	if err != nil {
		return err
	}
	j, err := client.GetStep(a.ctx, account, id)
	if err != nil {
		return err
	}
	return a.show(j)
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
		output, percent := "-", "-"
		if j.TrainingConfig != nil {
			output = id(j.TrainingConfig.OutputModel)
		}
		if j.JobProgress != nil {
			percent = fmt.Sprintf("%d%%", j.JobProgress.Percent)
		}
		rows = append(rows, []string{id(j.Name), strings.TrimPrefix(j.State, "JOB_STATE_"), percent, id(j.Dataset), output, at(j.CreateTime)})
	}
	return a.table(steps, "ID STATE DONE DATASET OUTPUT CREATED", rows)
}

type stepMetricsCmd struct {
	ID    string `arg:"" help:"The step."`
	After int64  `help:"Only updates greater than this."`
}

// Run implements a command.
func (c *stepMetricsCmd) Run(a *app) error {
	client, account, id, err := a.named("ID", c.ID, rft.Steps)
	if err != nil {
		return err
	}
	metrics := []api.StepMetrics{}
	for after := c.After; ; {
		l, err := client.StepMetrics(a.ctx, account, id, after)
		if err != nil {
			return err
		}
		metrics = append(metrics, l.Metrics...)
		if len(l.Metrics) == 0 {
			break
		}
		after = l.Metrics[len(l.Metrics)-1].Update
	}
	var rows [][]string
	for _, m := range metrics {
		rows = append(rows, []string{fmt.Sprint(m.Update), fmt.Sprint(m.Samples), fmt.Sprintf("%.4f", m.RewardMean), fmt.Sprintf("%+.5f", m.Loss), fmt.Sprintf("%.5f", m.KL),
			fmt.Sprintf("%.3f", m.ClipFraction), fmt.Sprintf("%.4f", m.GradNorm), fmt.Sprintf("%.3f", m.Entropy), fmt.Sprintf("%d/%d", m.DeadGroups, m.Groups), fmt.Sprintf("%.0f", m.TokensPerSecond)})
	}
	return a.table(metrics, "UPDATE SAMPLES REWARD LOSS KL CLIP GRAD ENTROPY DEAD TOK/S", rows)
}

type stepCancelCmd struct {
	ID string `arg:"" help:"The step."`
}

// Run implements a command.
func (c *stepCancelCmd) Run(a *app) error {
	client, account, id, err := a.named("ID", c.ID, rft.Steps)
	if err != nil {
		return err
	}
	if err := client.CancelStep(a.ctx, account, id); err != nil {
		return err
	}
	return a.done("cancelling %s", rft.Name{Account: account, Collection: rft.Steps, ID: id})
}

type stepDeleteCmd struct {
	ID string `arg:"" help:"The step."`
}

// Run implements a command.
func (c *stepDeleteCmd) Run(a *app) error {
	client, account, id, err := a.named("ID", c.ID, rft.Steps)
	if err != nil {
		return err
	}
	if err := client.DeleteStep(a.ctx, account, id); err != nil {
		return err
	}
	return a.done("deleted %s", rft.Name{Account: account, Collection: rft.Steps, ID: id})
}
