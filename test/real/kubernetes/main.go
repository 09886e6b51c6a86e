// Reads manifests as Kubernetes' own types, strictly: an unknown or misspelled field is an error. Pod templates are judged by the code
// of PodSecurity admission, at the level that the manifest's namespace enforces. Prints what is wrong; exit code 1 if anything is.
package main

import (
	"bytes"
	"fmt"
	"os"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/yaml"
)

func main() {
	text, err := os.ReadFile(os.Args[1])
	if err != nil {
		panic(err)
	}
	level := api.LevelPrivileged
	wrong := 0
	complain := func(format string, args ...any) {
		wrong++
		fmt.Printf(format+"\n", args...)
	}
	for _, document := range bytes.Split(text, []byte("\n---\n")) {
		var kind struct{ Kind string }
		if err := yaml.Unmarshal(document, &kind); err != nil {
			complain("%v", err)
			continue
		}
		var target any
		switch kind.Kind {
		case "Namespace":
			target = &core.Namespace{}
		case "ServiceAccount":
			target = &core.ServiceAccount{}
		case "ConfigMap":
			target = &core.ConfigMap{}
		case "Deployment":
			target = &apps.Deployment{}
		case "NetworkPolicy":
			target = &networking.NetworkPolicy{}
		default:
			complain("unknown kind %q", kind.Kind)
			continue
		}
		if err := yaml.UnmarshalStrict(document, target); err != nil {
			complain("%s: %v", kind.Kind, err)
			continue
		}
		fmt.Printf("%s is well-formed\n", kind.Kind)
		if namespace, ok := target.(*core.Namespace); ok {
			level = api.Level(namespace.Labels[api.EnforceLevelLabel])
		}
		if deployment, ok := target.(*apps.Deployment); ok {
			evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
			if err != nil {
				panic(err)
			}
			template := deployment.Spec.Template
			results := evaluator.EvaluatePod(api.LevelVersion{Level: level, Version: api.LatestVersion()}, &template.ObjectMeta, &template.Spec)
			verdict := policy.AggregateCheckResults(results)
			if !verdict.Allowed {
				complain("PodSecurity %s: %s", level, verdict.ForbiddenDetail())
			} else {
				fmt.Printf("PodSecurity %s: allowed\n", level)
			}
		}
	}
	if wrong > 0 {
		os.Exit(1)
	}
}
