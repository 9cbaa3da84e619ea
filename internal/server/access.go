package server

import (
	"mime"
	"net/http"
	"net/url"
	"time"

	"github.com/firekeep/firekeep/api"
	"github.com/firekeep/firekeep/internal/control"
	"github.com/firekeep/firekeep/internal/rft"
)

// tokenPath is where other issuers' tokens are exchanged; it takes no key.
const tokenPath = "/v1/token"

// accessRoutes are the operations on tenants, people, roles, keys and trust.
func accessRoutes(cp func(method, pattern string, h func(*request) error) route) []route {
	const a = "/v1/accounts/{account}"
	return []route{
		cp("POST", "/v1/accounts", createAccount),
		cp("POST", a+":suspend", suspendAccount),
		cp("POST", a+":resume", resumeAccount),
		cp("DELETE", a, deleteAccount),

		cp("GET", a+"/quotas", listQuotas),
		cp("GET", a+"/quotas/{quota}", getQuota),
		cp("PATCH", a+"/quotas/{quota}", updateQuota),

		cp("PATCH", a+"/users/{user}", updating("user", rft.Users, (*control.Control).UpdateUser)),
		cp("POST", a+"/users/{user}/apiKeys:rotate", rotateKey),

		cp("GET", a+"/roles", listRoles),
		cp("POST", a+"/roles", createRole),
		cp("GET", a+"/roles/{role}", getRole),
		cp("DELETE", a+"/roles/{role}", deleteRole),

		cp("GET", a+"/identityProviders", listProviders),
		cp("POST", a+"/identityProviders", createProvider),
		cp("GET", a+"/identityProviders/{provider}", getProvider),
		cp("DELETE", a+"/identityProviders/{provider}", deleteProvider),

		cp("GET", a+"/accessReview", reviewAccess),
		cp("GET", a+"/accessReviews", listReviews),
		cp("POST", a+"/accessReviews", signReview),

		cp("POST", tokenPath, exchangeToken),
	}
}

func createAccount(rq *request) error {
	var a api.Account
	if err := rq.decode(&a); err != nil {
		return err
	}
	v, err := rq.s.control.CreateAccount(rq.ctx(), rq.caller, rq.query("accountId"), &a)
	return rq.reply(v, err)
}

func suspendAccount(rq *request) error {
	v, err := rq.s.control.SuspendAccount(rq.ctx(), rq.caller, rq.params["account"])
	return rq.reply(v, err)
}

func resumeAccount(rq *request) error {
	v, err := rq.s.control.ResumeAccount(rq.ctx(), rq.caller, rq.params["account"])
	return rq.reply(v, err)
}

func deleteAccount(rq *request) error {
	return rq.done(rq.s.control.DeleteAccount(rq.ctx(), rq.caller, rq.params["account"]))
}

func listQuotas(rq *request) error {
	v, err := rq.s.control.ListQuotas(rq.ctx(), rq.caller, rq.params["account"])
	return rq.reply(v, err)
}

func getQuota(rq *request) error {
	v, err := rq.s.control.GetQuota(rq.ctx(), rq.caller, rq.params["account"], rq.params["quota"])
	return rq.reply(v, err)
}

func updateQuota(rq *request) error {
	var q api.Quota
	if err := rq.decode(&q); err != nil {
		return err
	}
	v, err := rq.s.control.UpdateQuota(rq.ctx(), rq.caller, rq.params["account"], rq.params["quota"], &q)
	return rq.reply(v, err)
}

func rotateKey(rq *request) error {
	var b api.RotateAPIKeyRequest
	if err := rq.decode(&b); err != nil {
		return err
	}
	v, err := rq.s.control.RotateAPIKey(rq.ctx(), rq.caller, rq.params["account"], rq.params["user"], &b)
	return rq.reply(v, err)
}

func listRoles(rq *request) error {
	return listing(rq, func(q control.ListQuery) (*api.RoleList, error) {
		return rq.s.control.ListRoles(rq.ctx(), rq.caller, rq.params["account"], q)
	})
}

func createRole(rq *request) error {
	var b api.CreateRoleRequest
	if err := rq.decode(&b); err != nil {
		return err
	}
	if b.Role == nil {
		b.Role = &api.Role{}
	}
	v, err := rq.s.control.PutRole(rq.ctx(), rq.caller, rq.params["account"], b.RoleID, b.Role)
	return rq.reply(v, err)
}

func getRole(rq *request) error {
	v, err := rq.s.control.GetRole(rq.ctx(), rq.caller, rq.params["account"], rq.params["role"])
	return rq.reply(v, err)
}

func deleteRole(rq *request) error {
	return rq.done(rq.s.control.DeleteRole(rq.ctx(), rq.caller, rq.params["account"], rq.params["role"]))
}

func listProviders(rq *request) error {
	return listing(rq, func(q control.ListQuery) (*api.IdentityProviderList, error) {
		return rq.s.control.ListProviders(rq.ctx(), rq.caller, rq.params["account"], q)
	})
}

func createProvider(rq *request) error {
	var b api.CreateIdentityProviderRequest
	if err := rq.decode(&b); err != nil {
		return err
	}
	v, err := rq.s.control.CreateProvider(rq.ctx(), rq.caller, rq.params["account"], b.IdentityProviderID, b.IdentityProvider)
	return rq.reply(v, err)
}

func getProvider(rq *request) error {
	v, err := rq.s.control.GetProvider(rq.ctx(), rq.caller, rq.params["account"], rq.params["provider"])
	return rq.reply(v, err)
}

func deleteProvider(rq *request) error {
	return rq.done(rq.s.control.DeleteProvider(rq.ctx(), rq.caller, rq.params["account"], rq.params["provider"]))
}

func reviewAccess(rq *request) error {
	v, err := rq.s.control.ReviewAccess(rq.ctx(), rq.caller, rq.params["account"])
	return rq.reply(v, err)
}

func listReviews(rq *request) error {
	return listing(rq, func(q control.ListQuery) (*api.AccessReviewList, error) {
		return rq.s.control.ListReviews(rq.ctx(), rq.caller, rq.params["account"], q)
	})
}

func signReview(rq *request) error {
	var b api.SignReviewRequest
	if err := rq.decode(&b); err != nil {
		return err
	}
	v, err := rq.s.control.SignReview(rq.ctx(), rq.caller, rq.params["account"], &b)
	return rq.reply(v, err)
}

// maxTokenRequest bounds a token exchange: strangers send them.
const maxTokenRequest = 64 << 10

// exchangeToken takes the form of RFC 8693. What it reads is in the body only: a
// token in a URL would end in logs.
func exchangeToken(rq *request) error {
	if kind, _, err := mime.ParseMediaType(rq.r.Header.Get("Content-Type")); err != nil || kind != "application/x-www-form-urlencoded" {
		return &statusError{http.StatusUnsupportedMediaType, rft.Errorf(rft.KindInvalidArgument, "the body must be application/x-www-form-urlencoded")}
	}
	body, err := rq.readBody(maxTokenRequest)
	if err != nil {
		return err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return rft.Errorf(rft.KindInvalidArgument, "the body is not a form")
	}
	if !rq.s.strangers.take(time.Now()) {
		return tooManyStrangers()
	}
	v, err := rq.s.control.ExchangeToken(rq.ctx(), control.Exchange{GrantType: form.Get("grant_type"), Audience: form.Get("audience"),
		SubjectToken: form.Get("subject_token"), SubjectTokenType: form.Get("subject_token_type"), ClientIP: clientIP(rq.r), UserAgent: clip(rq.r.UserAgent(), 200)})
	return rq.reply(v, err)
}
