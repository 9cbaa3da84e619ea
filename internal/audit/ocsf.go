package audit

import (
	"strings"
	"time"

	"github.com/firekeep/firekeep/internal/store"
)

// Numbers of the Open Cybersecurity Schema Framework: API Activity is class 3 of
// the category Application Activity.
const (
	ocsfVersion  = "1.6.0"
	ocsfCategory = 6
	ocsfClass    = 6003
)

// Activities of the class, and types of users.
const (
	ocsfCreate = 1
	ocsfRead   = 2
	ocsfUpdate = 3
	ocsfDelete = 4
	ocsfOther  = 99

	ocsfUserPerson  = 1
	ocsfUserAdmin   = 2
	ocsfUserSystem  = 3
	ocsfUserService = 4
)

// ocsfEvent is an event of the class API Activity.
type ocsfEvent struct {
	ActivityID   int            `json:"activity_id"`
	ActivityName string         `json:"activity_name"`
	CategoryUID  int            `json:"category_uid"`
	CategoryName string         `json:"category_name"`
	ClassUID     int            `json:"class_uid"`
	ClassName    string         `json:"class_name"`
	TypeUID      int            `json:"type_uid"`
	Time         int64          `json:"time"` // milliseconds since 1970
	SeverityID   int            `json:"severity_id"`
	Severity     string         `json:"severity"`
	StatusID     int            `json:"status_id"`
	Status       string         `json:"status"`
	StatusCode   string         `json:"status_code"`
	Metadata     ocsfMetadata   `json:"metadata"`
	Actor        ocsfActor      `json:"actor"`
	API          ocsfAPI        `json:"api"`
	SrcEndpoint  ocsfEndpoint   `json:"src_endpoint"`
	HTTPRequest  *ocsfHTTP      `json:"http_request,omitempty"`
	Resources    []ocsfResource `json:"resources,omitempty"`
	Unmapped     map[string]any `json:"unmapped,omitempty"`
}

type ocsfMetadata struct {
	Version  string      `json:"version"`
	UID      string      `json:"uid"`
	Sequence int64       `json:"sequence"`
	TenantID string      `json:"tenant_uid,omitempty"`
	Product  ocsfProduct `json:"product"`
}

type ocsfProduct struct {
	Name   string `json:"name"`
	Vendor string `json:"vendor_name"`
}

type ocsfActor struct {
	User           ocsfUser            `json:"user"`
	Authorizations []ocsfAuthorization `json:"authorizations,omitempty"`
}

type ocsfUser struct {
	UID         string           `json:"uid"`
	Type        string           `json:"type"`
	TypeID      int              `json:"type_id"`
	Credentials []ocsfCredential `json:"programmatic_credentials,omitempty"`
}

type ocsfCredential struct {
	UID  string `json:"uid"`
	Type string `json:"type"`
}

type ocsfAuthorization struct {
	Decision string     `json:"decision"`
	Policy   ocsfPolicy `json:"policy"`
}

type ocsfPolicy struct {
	UID string `json:"uid"`
}

type ocsfAPI struct {
	Operation string      `json:"operation"`
	Service   ocsfService `json:"service"`
}

type ocsfService struct {
	Name string `json:"name"`
}

type ocsfEndpoint struct {
	IP      string `json:"ip,omitempty"`
	Service string `json:"svc_name,omitempty"` // of events without a client
}

type ocsfHTTP struct {
	UserAgent string `json:"user_agent"`
}

type ocsfResource struct {
	UID  string `json:"uid"`
	Type string `json:"type,omitempty"`
}

// ocsfOf maps an event.
func ocsfOf(e Event) ocsfEvent {
	activity, name := ocsfActivity(e.Action)
	o := ocsfEvent{
		ActivityID: activity, ActivityName: name, CategoryUID: ocsfCategory, CategoryName: "Application Activity", ClassUID: ocsfClass, ClassName: "API Activity",
		TypeUID: ocsfClass*100 + activity, SeverityID: 1, Severity: "Informational", StatusID: 1, Status: "Success", StatusCode: e.Result,
		Metadata: ocsfMetadata{Version: ocsfVersion, UID: itoa(e.Seq), Sequence: e.Seq, TenantID: e.Account, Product: ocsfProduct{Name: "Firekeep", Vendor: "Firekeep"}},
		Actor:    ocsfActor{User: ocsfUser{UID: e.Who.ID}},
		API:      ocsfAPI{Operation: e.Action, Service: ocsfService{"firekeep"}},
	}
	if at, err := time.Parse(timeFormat, e.Time); err == nil {
		o.Time = at.UnixMilli()
	}
	if e.Result != "OK" {
		o.StatusID, o.Status, o.SeverityID, o.Severity = 2, "Failure", 2, "Low"
	}
	if e.Decision == store.DecisionDeny {
		o.SeverityID, o.Severity = 3, "Medium"
	}
	o.Actor.User.TypeID, o.Actor.User.Type = ocsfUserType(e.Who.Kind)
	if e.Decision != "" {
		o.Actor.Authorizations = []ocsfAuthorization{{e.Decision, ocsfPolicy{e.Policy}}}
	}
	if e.Source.Key != "" {
		o.Actor.User.Credentials = []ocsfCredential{{e.Source.Key, "API Key"}}
	}
	if o.SrcEndpoint.IP = e.Source.IP; e.Source.IP == "" {
		o.SrcEndpoint.Service = "firekeep"
	}
	if e.Source.Agent != "" {
		o.HTTPRequest = &ocsfHTTP{e.Source.Agent}
	}
	if e.Resource != "" {
		o.Resources = []ocsfResource{{UID: e.Resource, Type: collection(e.Resource)}}
	}
	if len(e.Detail) > 0 {
		o.Unmapped = map[string]any{"detail": e.Detail}
	}
	return o
}

// ocsfActivity is the activity of an operation, by the verb that its name begins
// with.
func ocsfActivity(action string) (int, string) {
	for _, v := range []struct {
		verbs []string
		id    int
		name  string
	}{
		{[]string{"Create", "Mint", "Import", "Upload", "Register", "Issue", "SignIn"}, ocsfCreate, "Create"},
		{[]string{"Get", "List", "Read", "Open", "Export", "Download", "Verify", "Load"}, ocsfRead, "Read"},
		{[]string{"Update", "Set", "Rotate", "Validate", "Suspend", "Resume", "Complete", "Cancel", "Stop", "Start"}, ocsfUpdate, "Update"},
		{[]string{"Delete", "Revoke", "Drop", "Shred", "Free"}, ocsfDelete, "Delete"},
	} {
		for _, verb := range v.verbs {
			if strings.HasPrefix(action, verb) {
				return v.id, v.name
			}
		}
	}
	return ocsfOther, "Other"
}

func ocsfUserType(kind string) (int, string) {
	switch kind {
	case store.ActorUser:
		return ocsfUserPerson, "User"
	case store.ActorOperator:
		return ocsfUserAdmin, "Admin"
	case store.ActorServiceAccount, store.ActorWorkload:
		return ocsfUserService, "Service"
	}
	return ocsfUserSystem, "System"
}

// collection is the kind of a resource name: "datasets" of accounts/a/datasets/d.
func collection(name string) string {
	part := strings.Split(name, "/")
	if len(part) == 1 {
		return name
	}
	return part[len(part)-2+len(part)%2]
}
