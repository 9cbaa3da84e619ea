package api

import (
	"encoding/json"
	"testing"
	"time"
)

func TestPatch(t *testing.T) {
	window := Duration(5 * time.Minute)
	start := func() Deployment {
		return Deployment{DisplayName: "old", MinReplicaCount: 1, EnableAddons: true, Annotations: map[string]string{"a": "1"},
			AutoscalingPolicy: &AutoscalingPolicy{ScaleUpWindow: &window, LoadTargets: map[string]float64{"default": 0.8}}}
	}
	for name, c := range map[string]struct {
		patch Patch
		want  func(*Deployment)
	}{
		"an empty body changes nothing": {Patch{}, func(*Deployment) {}},
		"what is there changes":         {Patch{Body: []byte(`{"display_name":"new"}`)}, func(d *Deployment) { d.DisplayName = "new" }},
		"zero is a value":               {Patch{Body: []byte(`{"minReplicaCount":0,"enableAddons":false}`)}, func(d *Deployment) { d.MinReplicaCount, d.EnableAddons = 0, false }},
		"null clears":                   {Patch{Body: []byte(`{"displayName":null,"autoscalingPolicy":null}`)}, func(d *Deployment) { d.DisplayName, d.AutoscalingPolicy = "", nil }},
		"objects are merged": {Patch{Body: []byte(`{"autoscaling_policy":{"scale_down_window":"300s"}}`)},
			func(d *Deployment) { d.AutoscalingPolicy.ScaleDownWindow = &window }},
		"maps are replaced":            {Patch{Body: []byte(`{"annotations":{"b_c":"2"}}`)}, func(d *Deployment) { d.Annotations = map[string]string{"b_c": "2"} }},
		"unknown fields do not matter": {Patch{Body: []byte(`{"colour":"green","displayName":"new"}`)}, func(d *Deployment) { d.DisplayName = "new" }},
		"a mask chooses": {Patch{Body: []byte(`{"displayName":"new","minReplicaCount":5}`), Mask: []string{"min_replica_count"}},
			func(d *Deployment) { d.MinReplicaCount = 5 }},
		"a mask clears": {Patch{Body: []byte(`{}`), Mask: []string{"displayName", "autoscalingPolicy.loadTargets", "nothing", "nothing.at.all"}},
			func(d *Deployment) { d.DisplayName, d.AutoscalingPolicy.LoadTargets = "", nil }},
	} {
		got, want := start(), start()
		if err := c.patch.Apply(&got); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		c.want(&want)
		g, _ := json.Marshal(got)
		w, _ := json.Marshal(want)
		if string(g) != string(w) {
			t.Errorf("%s:\n%s\nwant\n%s", name, g, w)
		}
	}
	for _, bad := range []string{`[]`, `{`, `7`, `{"minReplicaCount":"many"}`, `{} {}`} {
		d := start()
		if err := (Patch{Body: []byte(bad)}).Apply(&d); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
	p := Patch{Body: []byte(`{"base_model":"x"}`)}
	if !p.Has("baseModel") || p.Has("base_model") || p.Has("displayName") {
		t.Error("Has reads the body wrongly")
	}
}

func FuzzPatch(f *testing.F) {
	f.Add([]byte(`{"displayName":"x","autoscalingPolicy":{"scaleUpWindow":"3s"}}`), "display_name")
	f.Add([]byte(`null`), "a.b.c")
	f.Fuzz(func(t *testing.T, body []byte, mask string) {
		d := Deployment{DisplayName: "old"}
		p := Patch{Body: body}
		if mask != "" {
			p.Mask = []string{mask}
		}
		if err := p.Apply(&d); err != nil && d.DisplayName != "old" {
			t.Fatal("a refused patch changed something")
		}
	})
}
